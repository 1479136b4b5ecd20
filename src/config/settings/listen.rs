//! Listeners, forward auth and connections to applications.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::definition::{Fallback, Setting, Source, Typed, section};
use crate::config::settings::parse::parser::{
    ADDRESSES, DIALECTS, FLAG, NETWORKS, NONZERO, PATH, Parser, count, duration, size,
};
use crate::model::Dialects;

section! {
    /// Listeners, and the limits of their connections.
    pub struct Listen in "listen" {
        /// Addresses for HTTP; ":9000" is every interface, IPv6 and IPv4
        ///
        /// On a host without IPv6, IPv4 alone; as `0.0.0.0:9000` everywhere.
        http: Vec<SocketAddr> = ADDRESSES, default("[::]:9000"), vendor("AUTHENTIK_LISTEN__HTTP");
        /// Addresses for HTTPS
        ///
        /// `none` if a reverse proxy terminates TLS.
        https: Vec<SocketAddr> = ADDRESSES, default("[::]:9443"), vendor("AUTHENTIK_LISTEN__HTTPS");
        /// Addresses for metrics and health checks
        metrics: Vec<SocketAddr> = ADDRESSES, default("[::]:9300"), vendor("AUTHENTIK_LISTEN__METRICS");
        /// Addresses for authorization requests of reverse proxies only
        ///
        /// If set, `/outpost.goauthentik.io/auth/…` is served there and nowhere else over HTTP; besides
        /// it, that listener serves ping and ready only. Without TLS.
        forward_auth: Vec<SocketAddr> = ADDRESSES, default("none");
        /// Addresses for Envoy's `ext_authz` over gRPC
        ///
        /// Without TLS (h2c). Requires the build feature `ext-authz`, which the image has.
        ext_authz: Vec<SocketAddr> = ADDRESSES, default("none");
        /// Unix socket for `authentik-proxy doctor --watch`
        ///
        /// Its directory is created if it is missing. Only the user that the server runs as, and root,
        /// can read it: [SECURITY.md](SECURITY.md#watching-logins). Unset: logins cannot be watched.
        watch_socket: PathBuf = PATH, optional;
        /// Networks of reverse proxies whose X-Forwarded-* headers are trusted
        ///
        /// Best the addresses of your reverse proxies only.
        trusted_proxies: Vec<IpNet> = NETWORKS,
            default("127.0.0.0/8,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fe80::/10,::1/128"),
            vendor("AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS");
        /// Timeout for reading a request head
        header_timeout: Duration = duration(NONZERO), default("30s");
        /// Idle timeout of a connection between requests
        ///
        /// A new connection is closed after 10 s, or after a shorter timeout, without its first byte.
        idle_timeout: Duration = duration(NONZERO), default("60s");
        /// Idle timeout while reading a request body
        ///
        /// The response is 408. The timeout ends when the response begins. For gRPC calls,
        /// `upstream.response_timeout` applies if it is longer.
        body_timeout: Duration = duration(NONZERO), default("60s");
        /// Idle timeout while writing to a client
        ///
        /// Then the connection is closed, including paused downloads. Streams without data to send have
        /// no timeout.
        write_timeout: Duration = duration(NONZERO), default("15m");
        /// Maximum number of connections, over all listeners except metrics
        ///
        /// Metrics listeners have 64 connections of their own. At the limit, the oldest idle connection
        /// is closed; if none is idle, 32 more connections serve health checks and answer 503 otherwise.
        max_connections: usize = count(1), default("10240");
        /// Maximum number of connections of a client address (IPv6: /64)
        ///
        /// At the limit, the oldest idle connection of that address is closed. With the PROXY protocol,
        /// the address that a trusted proxy names counts.
        max_connections_per_client: usize = count(1), default("512");
        /// Maximum number of connections of each peer in `listen.trusted_proxies`
        ///
        /// Raise it together with `listen.max_connections` if one reverse proxy has more.
        max_connections_per_proxy: usize = count(1), default("8192");
        /// Maximum size of a request head
        // hyper's HTTP/1 buffer cannot be smaller.
        max_header_bytes: usize = size(8 << 10), default("64KiB");
        /// Accept the PROXY protocol (versions 1 and 2) from trusted proxies
        proxy_protocol: bool = FLAG, default("true");
    }
}

section! {
    /// Authorization requests of reverse proxies.
    pub struct ForwardAuth in "forward_auth" {
        /// Dialects of authorization requests that are served; others get 404
        ///
        /// `nginx`, `ingress-nginx`, `traefik`, `caddy`, `envoy`. Best those that your reverse proxies
        /// use: `authentik-proxy doctor` lists them. Without `ingress-nginx`, `X-Sent-From` is ignored.
        /// `envoy` is `ext_authz` over HTTP; `listen.ext_authz` enables it over gRPC.
        dialects: Dialects = DIALECTS, default("all");
    }
}

section! {
    /// Connections to applications (mode `proxy`).
    pub struct Upstream in "upstream" {
        /// Timeout for connecting to an application, including TLS (mode proxy)
        connect_timeout: Duration = duration(NONZERO), default("10s");
        /// Timeout for the response head of an application (mode proxy)
        ///
        /// It starts when the application has the whole request. Response bodies and websockets have no
        /// timeout.
        response_timeout: Duration = duration(NONZERO), default("5m");
    }
}
