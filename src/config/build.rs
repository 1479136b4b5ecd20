//! From the layers to a [`Config`]: which parser reads which setting, and within which bounds.

use std::collections::HashSet;
use std::time::Duration;

use secrecy::SecretString;

use super::reader::Reader;
use super::sections::{
    Authentik, Control, Discover, Discovery, ForwardAuth, Identity, Listen, Log, Node, Redis,
    RedisPlace, Session, Shutdown, Tls, Traces, Upstream,
};
use super::{Config, parse, warnings};
use crate::model::Diagnostic;

/// `None` only if a problem was recorded.
pub(super) fn config(reader: &mut Reader<'_>) -> Option<Config> {
    let authentik = authentik(reader);
    let listen = listen(reader);
    let forward_auth = ForwardAuth {
        dialects: reader.value("forward_auth.dialects", parse::dialects),
    };
    let upstream = Upstream {
        connect_timeout: reader.value("upstream.connect_timeout", parse::duration(SHORT)),
        response_timeout: reader.value("upstream.response_timeout", parse::duration(SHORT)),
    };
    let log = Log {
        level: reader.value("log.level", parse::level),
    };
    let control = control(reader);
    let session = session(reader);
    let identity = Identity {
        send_jwt: reader.value("identity.send_jwt", parse::flag),
    };
    let shutdown = shutdown(reader);
    let redis = redis(reader);
    let tls = Tls {
        ca_file: reader.optional("tls.ca_file", parse::path),
    };
    let traces = traces(reader);
    check_protocol(reader, traces);
    let token = reader.optional("discover.token", parse::token);
    let discover = discover(reader, token);
    let mut config = Config {
        authentik: authentik?,
        listen,
        forward_auth,
        upstream,
        log,
        control,
        session,
        identity,
        shutdown,
        redis,
        tls,
        traces,
        discover,
        applications: reader.take_policies(),
        in_kubernetes: reader.environment("KUBERNETES_SERVICE_HOST").is_some(),
        warnings: reader.take_warnings(),
    };
    warnings::add(&mut config, reader);
    Some(config)
}

fn traces(reader: &Reader<'_>) -> Traces {
    let set = |name| reader.environment(name).is_some();
    let is = |name, expected: &str| {
        let value = reader.environment(name);
        value.is_some_and(|value| value.trim().eq_ignore_ascii_case(expected))
    };
    let attributes = reader.environment("OTEL_RESOURCE_ATTRIBUTES");
    Traces {
        wanted: !is("OTEL_SDK_DISABLED", "true")
            && !is("OTEL_TRACES_EXPORTER", "none")
            && (set("OTEL_EXPORTER_OTLP_ENDPOINT") || set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")),
        named: set("OTEL_SERVICE_NAME")
            || attributes.is_some_and(|all| all.contains("service.name=")),
    }
}

/// The SDK would ignore another protocol and speak gRPC to a port that does not understand it, and
/// export by OTLP whatever else is asked for.
fn check_protocol(reader: &mut Reader<'_>, traces: Traces) {
    let exporter = reader.environment("OTEL_TRACES_EXPORTER").unwrap_or("otlp");
    if traces.wanted && !exporter.trim().eq_ignore_ascii_case("otlp") {
        reader.problem(
            Diagnostic::new("OTEL_TRACES_EXPORTER: traces are exported by OTLP only")
                .hinting("expected otlp or none"),
        );
    }
    let names = [
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
    ];
    let set = |name| Some((name, reader.environment(name)?));
    let other = names.into_iter().find_map(set);
    if let Some((name, _)) = other.filter(|(_, value)| traces.wanted && value.trim() != "grpc") {
        reader.problem(
            Diagnostic::new(format!("{name}: traces are exported by gRPC only"))
                .hinting("expected grpc, and the collector's port for it (usually 4317)"),
        );
    }
}

/// What the command `discover` needs: no token of an outpost, and one of its own. `None` only if a
/// problem was recorded.
pub(super) fn discovery(reader: &mut Reader<'_>) -> Option<Discovery> {
    let host = reader.required("authentik.host", parse::base_url);
    let token = reader.required("discover.token", parse::token);
    let insecure = reader.value("authentik.insecure", parse::flag);
    let outpost_id = reader.optional("authentik.outpost_id", parse::uuid);
    let request_timeout = reader.value("control.request_timeout", parse::duration(SHORT));
    let ca_file = reader.optional("tls.ca_file", parse::path);
    let level = reader.value("log.level", parse::level);
    let discover = discover(reader, token.clone());
    Some(Discovery {
        host: host?,
        token: token?,
        insecure,
        outpost_id,
        request_timeout,
        tls: Tls { ca_file },
        log: Log { level },
        discover,
    })
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
/// Durations that may be zero.
const NONE: Duration = Duration::ZERO;
/// Durations of which zero would mean never or at once.
const SHORT: Duration = Duration::from_millis(1);

fn authentik(reader: &mut Reader<'_>) -> Option<Authentik> {
    let host = reader.required("authentik.host", parse::base_url);
    let host_browser = reader.optional("authentik.host_browser", parse::base_url);
    let token = reader.required("authentik.token", parse::token);
    let insecure = reader.value("authentik.insecure", parse::flag);
    let outpost_id = reader.optional("authentik.outpost_id", parse::uuid);
    Some(Authentik {
        host: host?,
        host_browser,
        token: token?,
        insecure,
        outpost_id,
    })
}

fn listen(reader: &mut Reader<'_>) -> Listen {
    let listen = Listen {
        http: reader.value("listen.http", parse::addresses),
        https: reader.value("listen.https", parse::addresses),
        metrics: reader.value("listen.metrics", parse::addresses),
        forward_auth: reader.value("listen.forward_auth", parse::addresses),
        ext_authz: reader.value("listen.ext_authz", parse::addresses),
        trusted_proxies: reader.value("listen.trusted_proxies", parse::networks),
        header_timeout: reader.value("listen.header_timeout", parse::duration(SHORT)),
        idle_timeout: reader.value("listen.idle_timeout", parse::duration(SHORT)),
        body_timeout: reader.value("listen.body_timeout", parse::duration(SHORT)),
        write_timeout: reader.value("listen.write_timeout", parse::duration(SHORT)),
        max_connections: reader.value("listen.max_connections", parse::count(1)),
        max_connections_per_client: reader
            .value("listen.max_connections_per_client", parse::count(1)),
        max_connections_per_proxy: reader
            .value("listen.max_connections_per_proxy", parse::count(1)),
        // hyper's HTTP/1 buffer cannot be smaller.
        max_header_bytes: reader.value("listen.max_header_bytes", parse::size(8 << 10)),
        proxy_protocol: reader.value("listen.proxy_protocol", parse::flag),
    };
    if listen.http.is_empty() && listen.https.is_empty() {
        reader.problem(
            Diagnostic::new("listen.http, listen.https: both are \"none\"")
                .hinting("at least one must listen"),
        );
    }
    let mut taken = HashSet::new();
    for address in listen
        .http
        .iter()
        .chain(&listen.https)
        .chain(&listen.metrics)
        .chain(&listen.forward_auth)
        .chain(&listen.ext_authz)
    {
        // Port 0 is a different free port each time.
        if address.port() != 0 && !taken.insert(address) {
            reader.problem(format!("listen: {address} is given more than once"));
        }
    }
    listen
}

fn control(reader: &mut Reader<'_>) -> Control {
    Control {
        refresh_interval: reader.optional("control.refresh_interval", parse::duration(SECOND)),
        refresh_jitter: reader.value("control.refresh_jitter", parse::duration(NONE)),
        hello_interval: reader.value("control.hello_interval", parse::duration(SECOND)),
        reconnect_max: reader.value("control.reconnect_max", parse::duration(SECOND)),
        request_timeout: reader.value("control.request_timeout", parse::duration(SHORT)),
        cache_file: reader.optional("control.cache_file", parse::path),
    }
}

fn session(reader: &mut Reader<'_>) -> Session {
    Session {
        cache_bytes: reader.value("session.cache_bytes", parse::size(1 << 20)),
        recheck_interval: reader.value("session.recheck_interval", parse::duration(SECOND)),
        recheck_per_second: reader.value("session.recheck_per_second", parse::count(1)),
        max_age: reader.value("session.max_age", parse::duration(MINUTE)),
        idle_timeout: reader.optional("session.idle_timeout", parse::duration(MINUTE)),
        login_timeout: reader.value("session.login_timeout", parse::duration(MINUTE)),
        cookie_prefix: reader.value("session.cookie_prefix", parse::cookie_prefix),
        echo_credentials: reader.value("session.echo_credentials", parse::flag),
    }
}

fn shutdown(reader: &mut Reader<'_>) -> Shutdown {
    Shutdown {
        delay: reader.value("shutdown.delay", parse::duration(NONE)),
        timeout: reader.value("shutdown.timeout", parse::duration(NONE)),
    }
}

fn discover(reader: &mut Reader<'_>, token: Option<SecretString>) -> Discover {
    let discover = Discover {
        token,
        owner: reader.value("discover.owner", parse::text),
        authorization_flow: reader.value("discover.authorization_flow", parse::text),
        invalidation_flow: reader.value("discover.invalidation_flow", parse::text),
        cluster_domain: reader.value("discover.cluster_domain", parse::host),
        interval: reader.value("discover.interval", parse::duration(10 * SECOND)),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if !discover.owner.chars().all(plain) {
        reader.problem("discover.owner: may have letters, digits, \".\", \"_\" and \"-\" only");
    }
    discover
}

/// Everything is read even without a place, so that a mistake is never silent.
fn redis(reader: &mut Reader<'_>) -> Option<Redis> {
    let place = redis_place(reader);
    let db = reader.value("redis.db", parse::count(0));
    let username = reader.optional("redis.username", parse::text);
    let password = reader.optional("redis.password", parse::password);
    let tls = reader.value("redis.tls", parse::flag);
    let tls_reqs = reader.value("redis.tls_reqs", parse::tls_reqs);
    let tls_ca_cert = reader.optional("redis.tls_ca_cert", parse::path);
    let timeout = reader.value("redis.timeout", parse::duration(SHORT));
    let revalidate = reader.value("redis.revalidate", parse::duration(SHORT));
    let when_down = reader.value("redis.when_down", parse::when_down);
    if matches!(place, Some(RedisPlace::Cluster(_))) && db != 0 {
        reader.problem("redis.db: a cluster has database 0 only");
    }
    Some(Redis {
        place: place?,
        db,
        username,
        password,
        tls,
        tls_reqs,
        tls_ca_cert,
        timeout,
        revalidate,
        when_down,
    })
}

fn redis_place(reader: &mut Reader<'_>) -> Option<RedisPlace> {
    let host = reader.optional("redis.host", parse::host);
    let port = reader.value("redis.port", parse::count(1));
    let sentinels = reader.optional("redis.sentinels", parse::nodes);
    let master = reader.value("redis.sentinel_master", parse::text);
    let username = reader.optional("redis.sentinel_username", parse::text);
    let password = reader.optional("redis.sentinel_password", parse::password);
    let cluster = reader.optional("redis.cluster", parse::nodes);
    let places = [
        host.map(|host| RedisPlace::Single(Node { host, port })),
        sentinels.map(|nodes| RedisPlace::Sentinel {
            nodes,
            master,
            username,
            password,
        }),
        cluster.map(RedisPlace::Cluster),
    ];
    let mut places = places.into_iter().flatten();
    let place = places.next();
    if places.next().is_some() {
        reader.problem("redis.host, redis.sentinels, redis.cluster: only one of them can be set");
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_are_what_opentelemetrys_variables_say() {
        for (variables, wanted, named) in [
            (&[][..], false, false),
            (
                &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317")],
                true,
                false,
            ),
            (
                &[(
                    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                    "http://collector:4317",
                )],
                true,
                false,
            ),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")], false, false),
            (
                &[
                    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317"),
                    ("OTEL_SDK_DISABLED", "True"),
                    ("OTEL_SERVICE_NAME", "door"),
                ],
                false,
                true,
            ),
            (
                &[
                    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
                    ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
                    ("OTEL_TRACES_EXPORTER", "none"),
                ],
                false,
                false,
            ),
            (
                &[
                    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317"),
                    ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
                    ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
                ],
                true,
                false,
            ),
            (
                &[("OTEL_RESOURCE_ATTRIBUTES", "a=b,service.name=door")],
                false,
                true,
            ),
        ] {
            let settings = [
                ("AUTHENTIK_HOST", "https://a.test"),
                ("AUTHENTIK_TOKEN", "t"),
            ];
            let config = Config::from_pairs(settings.iter().chain(variables).copied());
            let expected = Traces { wanted, named };
            assert_eq!(
                config.expect("it is valid").traces,
                expected,
                "{variables:?}"
            );
        }
    }

    #[test]
    fn a_protocol_that_is_not_spoken_is_a_problem() {
        for (name, value, fix) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf", "4317"),
            (
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
                "http/protobuf",
                "4317",
            ),
            ("OTEL_TRACES_EXPORTER", "console", "expected otlp or none"),
        ] {
            let settings = [
                ("AUTHENTIK_HOST", "https://a.test"),
                ("AUTHENTIK_TOKEN", "t"),
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
                (name, value),
            ];
            let problem = Config::from_pairs(settings).expect_err("not spoken");
            let problem = problem.to_string();
            assert!(problem.contains(name) && problem.contains(fix), "{problem}");
        }
    }
}
