//! Requests as a client that looks for a way around would write them, byte for byte.

use proptest::prelude::*;
use proptest::sample::select;

use crate::fronts::{INTERNAL, PUBLIC};

/// One request, without what makes it a particular user's.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    method: &'static str,
    target: String,
    hosts: Vec<String>,
    lines: Vec<String>,
    body: &'static str,
}

impl Attempt {
    /// The bytes on the wire, with a `Cookie` line if there are cookies.
    pub(super) fn bytes(&self, cookies: &str) -> Vec<u8> {
        let Self { method, target, .. } = self;
        let mut text = format!("{method} {target} HTTP/1.1\r\n");
        for host in &self.hosts {
            text = format!("{text}Host: {host}\r\n");
        }
        for line in &self.lines {
            text = format!("{text}{line}\r\n");
        }
        if !cookies.is_empty() {
            text = format!("{text}Cookie: {cookies}\r\n");
        }
        format!("{text}Connection: close\r\n\r\n{}", self.body).into_bytes()
    }
}

/// Any request.
pub(super) fn attempts() -> impl Strategy<Value = Attempt> {
    let hosts = prop_oneof![
        30 => host().prop_map(|host| vec![host]),
        1 => (host(), host()).prop_map(|(one, other)| vec![one, other]),
        1 => Just(Vec::new()),
    ];
    (
        prop_oneof![
            8 => Just("GET"),
            2 => select(vec!["HEAD", "POST", "OPTIONS", "get", "TRACE"]),
        ],
        target(),
        hosts,
        lines(),
        prop_oneof![8 => Just(""), 1 => Just(SMUGGLED)],
    )
        .prop_map(|(method, target, hosts, lines, body)| Attempt {
            method,
            target,
            hosts,
            lines,
            body,
        })
}

/// A second request, which only a server that loses count of bytes takes for one.
const SMUGGLED: &str = "GET / HTTP/1.1\r\nHost: internal.localhost\r\nConnection: close\r\n\r\n";

/// A host, spelled in one of the ways that name the same server, or nearly do.
fn host() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        6 => Just(PUBLIC),
        3 => Just(INTERNAL),
        1 => Just("unknown.localhost"),
    ];
    let spelling = 0..30_usize;
    (name, spelling).prop_map(|(name, spelling)| match spelling {
        0 => name.to_uppercase(),
        1 => format!("{name}."),
        2 => format!("{name}:80"),
        3 => format!("{name}:9999"),
        4 => format!("x@{name}"),
        5 => format!("{name} "),
        _ => name.to_owned(),
    })
}

/// A request target in any form of RFC 9112 section 3.2.
fn target() -> impl Strategy<Value = String> {
    prop_oneof![
        12 => path(),
        3 => (host(), path()).prop_map(|(host, path)| format!("http://{host}{path}")),
        1 => (host(), path()).prop_map(|(host, path)| format!("https://{host}{path}")),
        1 => host(),
        1 => Just("*".to_owned()),
        1 => path().prop_map(|path| format!("/{path}")),
    ]
}

/// A path: often plain, so that what else a request has is what matters.
fn path() -> impl Strategy<Value = String> {
    prop_oneof![
        1 => select(vec!["/public/x", "/public/x", "/private", "/admin/x"]).prop_map(str::to_owned),
        2 => odd_path(),
    ]
}

fn odd_path() -> impl Strategy<Value = String> {
    let piece = select(vec![
        "public",
        "admin",
        "admin",
        "%61dmin",
        "ADMIN",
        "private",
        "x",
        "",
        ".",
        "..",
        "%2e%2e",
        "%2E.",
        "%252e%252e",
        "..;",
        "..%00",
        "public;x=1",
        "%c0%ae%c0%ae",
        "%u002e",
        "%",
        "outpost.goauthentik.io",
        "outpost%2egoauthentik.io",
        "OUTPOST.goauthentik.io",
        "auth",
        "nginx",
        "traefik",
        "caddy",
        "envoy",
        "start",
        "callback",
        "sign_out",
        "ping",
        "static",
    ]);
    let separator = select(vec![
        "/", "/", "/", "/", "/", "//", "%2f", "%2F", "%5c", "\\", "%252f", "/./", ";/",
    ]);
    let own = select(vec![
        "/outpost.goauthentik.io/auth/nginx",
        "/outpost.goauthentik.io/auth/traefik",
        "/outpost.goauthentik.io/auth/caddy",
        "/outpost.goauthentik.io/auth/envoy/public/x",
        "/outpost.goauthentik.io/start",
        "/public",
        "",
        "",
        "",
        "",
    ]);
    let query = select(vec![
        "",
        "",
        "",
        "",
        "?",
        "?x=/public/",
        "?X-authentik-auth-callback=true",
        "?X-authentik-logout=true",
        "?host=public.localhost",
        "?rd=/admin",
        "#/public/",
    ]);
    let pieces = proptest::collection::vec((separator, piece), 0..5);
    (own, pieces, query).prop_map(|(own, pieces, query)| {
        let mut path = own.to_owned();
        for (separator, piece) in pieces {
            path.push_str(separator);
            path.push_str(piece);
        }
        if !path.starts_with('/') {
            path.insert(0, '/');
        }
        path.push_str(query);
        path
    })
}

/// Often none, since one that is malformed ends the request.
fn lines() -> impl Strategy<Value = Vec<String>> {
    prop_oneof![Just(Vec::new()), proptest::collection::vec(line(), 1..4),]
}

/// A header that some server, somewhere, takes for a fact.
fn line() -> impl Strategy<Value = String> {
    let name = select(vec![
        "X-Original-URL",
        "X-Original-URI",
        "X-Rewrite-URL",
        "X-Forwarded-Uri",
        "X-Forwarded-Host",
        "X-Forwarded-Server",
        "X-Forwarded-Method",
        "X-Original-Method",
        "X-Forwarded-Proto",
        "X-Forwarded-Prefix",
        "X-Forwarded-Port",
        "X-Forwarded-For",
        "X-Real-IP",
        "Forwarded",
        "X-Host",
        "X-HTTP-Method-Override",
        "X-Sent-From",
        "X-Auth-Request-Redirect",
        "X-authentik-username",
        "X_authentik_groups",
        "X.authentik.groups",
        "Authorization",
        "Cookie",
        "Connection",
        "Upgrade",
        "Sec-Fetch-Mode",
        "Origin",
        "Access-Control-Request-Method",
        "Transfer-Encoding",
        "Content-Length",
        "Expect",
        "TE",
        "User-Agent",
        "Content-Type",
    ]);
    let value = prop_oneof![
        path(),
        host(),
        (host(), path()).prop_map(|(host, path)| format!("http://{host}{path}")),
        select(vec![
            "GET",
            "https",
            "admins",
            "127.0.0.1",
            "10.0.0.1",
            "chunked",
            "gzip, chunked",
            "0",
            "5",
            "upgrade",
            "websocket",
            "navigate",
            "nginx-ingress-controller",
            "X-Original-URL, Cookie, Host",
            "100-continue",
            "application/grpc",
            "trailers",
            "host=internal.localhost;proto=https",
            "Basic YWxpY2U6eA==",
            "Bearer x",
        ])
        .prop_map(str::to_owned),
    ];
    (name, value).prop_map(|(name, value)| format!("{name}: {value}"))
}
