//! Behaviour of the whole outpost: a real instance of it, a stand-in authentik that speaks the
//! real wire format, and real reverse proxies in front.

mod api_clients;
mod applications;
mod attacks;
mod browser;
mod control;
mod doctor;
mod domains;
#[cfg(feature = "ext-authz")]
mod ext_authz;
mod fronts;
mod healthcheck;
mod https;
mod hybrid;
mod image;
mod limits;
mod login;
mod metrics;
mod nginx;
mod process;
mod proxy_attacks;
mod proxy_breaks;
mod proxy_browser;
mod proxy_bytes;
mod proxy_failures;
mod proxy_frames;
mod proxy_grpc;
mod proxy_headers;
mod proxy_identity;
mod proxy_live;
mod proxy_login;
mod proxy_programs;
mod proxy_recipes;
mod proxy_sessions;
mod proxy_streams;
mod proxy_websocket;
mod redis;
mod refresh;
mod regressions;
mod rules;
mod secrets;
mod shapes;
mod sign_out;
mod stalls;
mod support;
mod surfaces;
mod tls;
#[cfg(feature = "otel")]
mod traces;
mod trouble;
mod upstream;
