//! Behaviour of the whole outpost: a real instance of it, a stand-in authentik that speaks the
//! real wire format, and real reverse proxies in front.

mod api_clients;
mod browser;
mod control;
mod login;
mod nginx;
mod security;
mod support;
mod surfaces;
