//! The table of all settings.

use super::settings::{Fallback, Kind, Setting, own, vendor};

/// Every setting, in the order in which an operator meets them.
pub const SETTINGS: &[Setting] = &[
    vendor(
        "authentik.host",
        "AUTHENTIK_HOST",
        Kind::Url,
        Fallback::Required,
        "Base URL of authentik for this program; may have a path",
    ),
    vendor(
        "authentik.host_browser",
        "AUTHENTIK_HOST_BROWSER",
        Kind::Url,
        Fallback::Unset,
        "Base URL of authentik for browsers, when it is not the one above",
    ),
    vendor(
        "authentik.token",
        "AUTHENTIK_TOKEN",
        Kind::Token,
        Fallback::Required,
        "Token of the outpost, from authentik's \"View Deployment Info\"",
    ),
    vendor(
        "authentik.insecure",
        "AUTHENTIK_INSECURE",
        Kind::Flag,
        Fallback::Value("false"),
        "Do not verify authentik's certificate",
    ),
    vendor(
        "authentik.outpost_id",
        "AUTHENTIK_OUTPOST_ID",
        Kind::Uuid,
        Fallback::Unset,
        "Outpost to serve, when the token lists several",
    ),
    vendor(
        "listen.http",
        "AUTHENTIK_LISTEN__HTTP",
        Kind::Addresses,
        Fallback::Value("0.0.0.0:9000"),
        "Addresses for HTTP; \":9000\" is 0.0.0.0:9000",
    ),
    vendor(
        "listen.https",
        "AUTHENTIK_LISTEN__HTTPS",
        Kind::Addresses,
        Fallback::Value("0.0.0.0:9443"),
        "Addresses for HTTPS",
    )
    .more("`none` if TLS ends in front."),
    vendor(
        "listen.metrics",
        "AUTHENTIK_LISTEN__METRICS",
        Kind::Addresses,
        Fallback::Value("0.0.0.0:9300"),
        "Addresses for metrics and health",
    ),
    own(
        "listen.forward_auth",
        Kind::Addresses,
        Fallback::Value("none"),
        "Addresses for authorization requests of reverse proxies alone",
    )
    .more("If set, `/outpost.goauthentik.io/auth/…` is answered there and nowhere else over HTTP; that listener has ping and ready besides, and nothing for browsers. Without TLS."),
    own(
        "listen.ext_authz",
        Kind::Addresses,
        Fallback::Value("none"),
        "Addresses for Envoy's ext_authz over gRPC",
    )
    .more("Without TLS (h2c). Needs a build with the feature `ext-authz`, as the image is."),
    vendor(
        "listen.trusted_proxies",
        "AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS",
        Kind::Networks,
        Fallback::Value("127.0.0.0/8,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fe80::/10,::1/128"),
        "Peers whose X-Forwarded-* headers are believed",
    ),
    own(
        "listen.header_timeout",
        Kind::Duration,
        Fallback::Value("30s"),
        "How long a client may take to send the head of a request",
    ),
    own(
        "listen.idle_timeout",
        Kind::Duration,
        Fallback::Value("60s"),
        "How long a connection may be idle between requests",
    )
    .more("A new connection is closed after 10 s, or earlier limits, without its first byte."),
    own(
        "listen.body_timeout",
        Kind::Duration,
        Fallback::Value("60s"),
        "How long a client may send nothing of a body that an application waits for",
    )
    .more("Then it is told 408. An answer that has begun ends the limit. For gRPC calls, `upstream.response_timeout` holds if it is longer."),
    own(
        "listen.write_timeout",
        Kind::Duration,
        Fallback::Value("15m"),
        "How long a client may take nothing of what it is sent",
    )
    .more("Then the connection is closed, also that of a download that somebody paused. Streams that have nothing to send have no limit."),
    own(
        "listen.max_connections",
        Kind::Count,
        Fallback::Value("10240"),
        "Connections open at once, over all listeners but those for metrics",
    )
    .more("Those have 64 of their own. At the limit, the oldest idle connection is closed; while none is idle, 32 more connections serve probes and answer 503 to the rest."),
    own(
        "listen.max_connections_per_client",
        Kind::Count,
        Fallback::Value("512"),
        "Connections open at once from one client address (IPv6: /64)",
    )
    .more("At the limit, the oldest idle connection of that address is closed. With the PROXY protocol, the address that a trusted peer names counts."),
    own(
        "listen.max_connections_per_proxy",
        Kind::Count,
        Fallback::Value("8192"),
        "The same for each peer in `listen.trusted_proxies`",
    )
    .more("Raise it together with `listen.max_connections` if one reverse proxy holds more."),
    own(
        "listen.max_header_bytes",
        Kind::Size,
        Fallback::Value("64KiB"),
        "Largest head of a request; at least 8KiB",
    ),
    own(
        "listen.proxy_protocol",
        Kind::Flag,
        Fallback::Value("true"),
        "Whether trusted peers may name the client with the PROXY protocol",
    )
    .more("Versions 1 and 2, before HTTP or TLS begins."),
    own(
        "forward_auth.dialects",
        Kind::Dialects,
        Fallback::Value("all"),
        "Dialects of authorization requests that are answered; others get 404",
    )
    .more("`nginx`, `ingress-nginx`, `traefik`, `caddy`, `envoy`. Leave those that your reverse proxies use: `authentik-proxy doctor` says which. Without `ingress-nginx`, `X-Sent-From` is not believed. `envoy` is ext_authz over HTTP; over gRPC `listen.ext_authz` decides."),
    own(
        "upstream.connect_timeout",
        Kind::Duration,
        Fallback::Value("10s"),
        "How long a connection to an application may take, TLS included (mode proxy)",
    ),
    own(
        "upstream.response_timeout",
        Kind::Duration,
        Fallback::Value("5m"),
        "How long an application may take to begin its answer (mode proxy)",
    )
    .more("It counts once the application has the request. An answer that has begun has no limit, nor has a websocket."),
    vendor(
        "log.level",
        "AUTHENTIK_LOG_LEVEL",
        Kind::Level,
        Fallback::Value("info"),
        "Least severe level to log, until authentik says otherwise",
    ),
    own(
        "control.refresh_interval",
        Kind::Duration,
        Fallback::Unset,
        "Time between two fetches of the configuration; unset: what authentik says",
    )
    .more("That is 5 min without a wish, and never below 30 s."),
    own(
        "control.refresh_jitter",
        Kind::Duration,
        Fallback::Value("9s"),
        "Largest random delay before a fetch, so that replicas do not ask together",
    )
    .more("Drawn once per process; for fetches that authentik asks for by websocket."),
    own(
        "control.hello_interval",
        Kind::Duration,
        Fallback::Value("10s"),
        "Time between two signs of life to authentik",
    ),
    own(
        "control.reconnect_max",
        Kind::Duration,
        Fallback::Value("30s"),
        "Longest pause between two attempts to connect to authentik",
    ),
    own(
        "control.request_timeout",
        Kind::Duration,
        Fallback::Value("10s"),
        "How long one request to authentik may take",
    ),
    own(
        "control.cache_file",
        Kind::Path,
        Fallback::Unset,
        "File for the last good configuration, sealed; unset: kept in Redis, if there is one",
    )
    .more("The key is made from the token."),
    own(
        "session.cache_bytes",
        Kind::Size,
        Fallback::Value("64MiB"),
        "Memory for cached sessions of Redis; at least 1MiB",
    )
    .more("Without Redis all sessions are kept in memory, at most 512 a person."),
    own(
        "session.recheck_interval",
        Kind::Duration,
        Fallback::Value("10m"),
        "How often authentik is asked whether an active session still stands",
    ),
    own(
        "session.recheck_per_second",
        Kind::Count,
        Fallback::Value("10"),
        "Most such questions per second",
    ),
    own(
        "session.max_age",
        Kind::Duration,
        Fallback::Value("168h"),
        "Longest life of a session that is refreshed (offline_access)",
    )
    .more("At least 1m. Sessions are refreshed while they are used if the provider has the scope `offline_access`."),
    own(
        "session.idle_timeout",
        Kind::Duration,
        Fallback::Unset,
        "How long a session may go unused; at least 1m; unset: as long as it lives",
    )
    .more("Requests, streams and websockets are uses. They are noted ten times within the timeout, so that a session ends after nine to ten tenths of it."),
    own(
        "session.login_timeout",
        Kind::Duration,
        Fallback::Value("1h"),
        "How long a login that was started can be completed; at least 1m",
    ),
    own(
        "session.cookie_prefix",
        Kind::CookiePrefix,
        Fallback::Value("none"),
        "Prefix of cookie names: none, or host for __Host-",
    )
    .more("Other hosts of the domain cannot set cookies with it. Used where browsers accept it: over TLS, in modes `proxy` and `forward_single`. Both names are read. [MIGRATION.md](MIGRATION.md#names-of-cookies) says when to set `host`."),
    own(
        "session.echo_credentials",
        Kind::Flag,
        Fallback::Value("false"),
        "Forward auth tells which Cookie and Authorization applications may see",
    )
    .more("On positive answers, without our cookies and without credentials that were for us: for reverse proxies that copy both from the answer. [SECURITY.md](SECURITY.md#our-cookies-and-credentials-behind-forward-auth) says which."),
    own(
        "identity.send_jwt",
        Kind::Flag,
        Fallback::Value("true"),
        "Send applications the user's access token in X-authentik-jwt",
    )
    .more("`false` is safer: the token holds all attributes of the user, and is good as a bearer token until it expires. `applications.<slug>.send_jwt` overrides it for one application."),
    own(
        "shutdown.delay",
        Kind::Duration,
        Fallback::Value("2s"),
        "On a stop signal, how long to fail readiness while still accepting requests",
    ),
    own(
        "shutdown.timeout",
        Kind::Duration,
        Fallback::Value("25s"),
        "After that, how long requests in flight may take to finish",
    ),
    vendor(
        "redis.host",
        "AUTHENTIK_REDIS__HOST",
        Kind::Host,
        Fallback::Unset,
        "Redis that shares sessions between replicas; unset: memory of this process",
    ),
    vendor(
        "redis.port",
        "AUTHENTIK_REDIS__PORT",
        Kind::Count,
        Fallback::Value("6379"),
        "Port of Redis",
    ),
    vendor(
        "redis.db",
        "AUTHENTIK_REDIS__DB",
        Kind::Count,
        Fallback::Value("0"),
        "Number of the database in Redis",
    ),
    vendor(
        "redis.username",
        "AUTHENTIK_REDIS__USERNAME",
        Kind::Text,
        Fallback::Unset,
        "User at Redis",
    ),
    vendor(
        "redis.password",
        "AUTHENTIK_REDIS__PASSWORD",
        Kind::Password,
        Fallback::Unset,
        "Password at Redis",
    ),
    vendor(
        "redis.tls",
        "AUTHENTIK_REDIS__TLS",
        Kind::Flag,
        Fallback::Value("false"),
        "Connect to Redis with TLS",
    ),
    vendor(
        "redis.tls_reqs",
        "AUTHENTIK_REDIS__TLS_REQS",
        Kind::TlsReqs,
        Fallback::Value("required"),
        "Whether Redis must show a valid certificate: required or none",
    ),
    vendor(
        "redis.tls_ca_cert",
        "AUTHENTIK_REDIS__TLS_CA_CERT",
        Kind::Path,
        Fallback::Unset,
        "PEM file of the authorities that sign the certificate of Redis",
    ),
    own(
        "redis.sentinels",
        Kind::Nodes,
        Fallback::Unset,
        "Sentinels to ask for the current Redis; instead of a host",
    ),
    own(
        "redis.sentinel_master",
        Kind::Text,
        Fallback::Value("mymaster"),
        "Name of the master that the Sentinels watch",
    ),
    own(
        "redis.sentinel_username",
        Kind::Text,
        Fallback::Unset,
        "User at the Sentinels",
    ),
    own(
        "redis.sentinel_password",
        Kind::Password,
        Fallback::Unset,
        "Password at the Sentinels",
    ),
    own(
        "redis.cluster",
        Kind::Nodes,
        Fallback::Unset,
        "Some nodes of a Redis Cluster; instead of a host",
    ),
    own(
        "redis.timeout",
        Kind::Duration,
        Fallback::Value("1s"),
        "How long one command at Redis may take",
    ),
    own(
        "redis.revalidate",
        Kind::Duration,
        Fallback::Value("5s"),
        "Longest use of a cached session while Redis may have news that do not arrive",
    )
    .more("Then Redis is asked."),
    own(
        "redis.when_down",
        Kind::WhenDown,
        Fallback::Value("refuse"),
        "Logins while Redis is down: refuse, or keep here until it is back",
    )
    .more("[RELIABILITY.md](RELIABILITY.md) says which to choose."),
    own(
        "tls.ca_file",
        Kind::Path,
        Fallback::Unset,
        "PEM file of more authorities to trust on connections to authentik and to applications",
    ),
    own(
        "discover.token",
        Kind::Token,
        Fallback::Unset,
        "Token with which the command `discover` reads and writes at authentik",
    ),
    own(
        "discover.owner",
        Kind::Text,
        Fallback::Value("authentik-proxy"),
        "Mark on what `discover` creates; one for each cluster",
    ),
    own(
        "discover.authorization_flow",
        Kind::Text,
        Fallback::Value("default-provider-authorization-implicit-consent"),
        "Slug of the authorization flow of new providers",
    ),
    own(
        "discover.invalidation_flow",
        Kind::Text,
        Fallback::Value("default-provider-invalidation-flow"),
        "Slug of the sign-out flow of new providers",
    ),
    own(
        "discover.cluster_domain",
        Kind::Host,
        Fallback::Value("cluster.local"),
        "Domain below which Services have their names",
    ),
    own(
        "discover.interval",
        Kind::Duration,
        Fallback::Value("10m"),
        "With --watch, time between two looks when nothing changes; at least 10s",
    ),
];

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
