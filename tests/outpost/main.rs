//! Behaviour of the whole outpost: a real instance of it, a stand-in authentik that speaks the
//! real wire format, and real reverse proxies in front.

mod attacks;
mod authentik;
mod cookies;
mod doctor;
mod forward_auth;
mod fronts;
mod listener;
mod login;
mod operations;
mod proxy;
mod redis;
mod regressions;
mod reports;
mod support;
