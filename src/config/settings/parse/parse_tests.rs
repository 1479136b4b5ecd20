//! Tables of what each parser takes and refuses.

use secrecy::ExposeSecret as _;

use super::*;

fn reason<T: std::fmt::Debug>(result: Result<T, ParseError>) -> String {
    result.expect_err("refused").reason
}

#[test]
fn base_urls_end_with_a_slash() {
    for (text, expected) in [
        ("https://authentik.company", "https://authentik.company/"),
        ("https://authentik.company/", "https://authentik.company/"),
        (
            " HTTPS://Authentik.Company/auth ",
            "https://authentik.company/auth/",
        ),
        (
            "http://authentik.company/auth/",
            "http://authentik.company/auth/",
        ),
        (
            "http://authentik-server.authentik.svc:80",
            "http://authentik-server.authentik.svc/",
        ),
        ("http://[::1]:9000", "http://[::1]:9000/"),
    ] {
        assert_eq!(
            base_url(text).as_ref().map(Url::as_str),
            Ok(expected),
            "{text}"
        );
    }
}

#[test]
fn a_socket_has_an_absolute_path() {
    for (text, expected) in [
        ("unix:///run/a.sock", Ok("unix:///run/a.sock")),
        (" UNIX:///run/a.sock ", Ok("unix:///run/a.sock")),
        ("https://auth.test", Ok("https://auth.test/")),
        ("unix://run/a.sock", Err("has no absolute path of a socket")),
        ("unix:///", Err("has no absolute path of a socket")),
        ("unix://", Err("has no absolute path of a socket")),
        ("unix:///a?b", Err("has no absolute path of a socket")),
        ("unix:/run/a.sock", Err("is not a URL")),
    ] {
        let found = base_url_or_socket(text);
        let found = found.as_ref().map(Url::as_str);
        assert_eq!(found.map_err(|error| error.reason.as_str()), expected);
    }
}

#[test]
fn base_urls_are_not_guessed() {
    for (text, expected) in [
        ("authentik", "is not a URL"),
        ("", "is not a URL"),
        ("https:authentik.company", "is not a URL"),
        (
            "\"https://authentik.company\"",
            "must be an http:// or https:// URL",
        ),
        (
            "ftp://authentik.company",
            "must be an http:// or https:// URL",
        ),
        ("https://", "has no host"),
        ("https:///authentik.company", "has no host"),
        ("https://:443", "has no host"),
        ("https://?x", "has no host"),
        (
            "https://u:p@authentik.company",
            "must not contain a user or password",
        ),
        (
            "https://@authentik.company",
            "must not contain a user or password",
        ),
        (
            "https://authentik.company/?a=b",
            "must not contain a query or a fragment",
        ),
        (
            "https://authentik.company/#a",
            "must not contain a query or a fragment",
        ),
        (
            "https://auth\tentik",
            "contains a backslash, a space or a control character",
        ),
        (
            "https:\\\\authentik",
            "contains a backslash, a space or a control character",
        ),
        (
            "https://authentik:99999",
            "is not a URL (invalid port number)",
        ),
    ] {
        assert_eq!(reason(base_url(text)), expected, "{text}");
    }
}

#[test]
fn flags() {
    for text in ["true", "True", "TRUE", "1", "yes", "YES", " yes "] {
        assert_eq!(flag(text), Ok(true), "{text}");
    }
    for text in ["false", "False", "0", "no", "No"] {
        assert_eq!(flag(text), Ok(false), "{text}");
    }
    for text in ["", "on", "off", "t", "2", "truee"] {
        flag(text).expect_err(text);
    }
}

#[test]
fn tokens_fit_into_a_header() {
    assert_eq!(token(" abc\n").expect("trimmed").expose_secret(), "abc");
    for text in ["", " ", "a b", "a\nb", "a\u{7f}b", "schlüssel"] {
        token(text).expect_err(text);
    }
    assert!(reason(token("abc def")).ends_with("at position 4"));
}

#[test]
fn passwords_lose_only_line_breaks_at_their_end() {
    assert_eq!(
        password(" a b \r\n").expect("any text").expose_secret(),
        " a b "
    );
    password("a\nb").expect_err("two lines");
}

#[test]
fn levels_and_requirements() {
    for (text, expected) in [
        ("trace", LogLevel::Trace),
        ("DEBUG", LogLevel::Debug),
        ("Info", LogLevel::Info),
        ("warn", LogLevel::Warning),
        ("WARNING", LogLevel::Warning),
        ("error", LogLevel::Error),
    ] {
        assert_eq!(level(text), Ok(expected), "{text}");
        assert_eq!(level(expected.as_str()), Ok(expected));
    }
    level("verbose").expect_err("no level");
    assert_eq!(tls_reqs("None"), Ok(TlsReqs::None));
    assert_eq!(tls_reqs("required"), Ok(TlsReqs::Required));
    tls_reqs("optional").expect_err("no such requirement");
}

#[test]
fn hosts_have_no_scheme_and_no_port() {
    for (text, expected) in [
        ("redis", "redis"),
        (
            "redis.authentik-proxy.svc.cluster.local",
            "redis.authentik-proxy.svc.cluster.local",
        ),
        ("10.0.0.1", "10.0.0.1"),
        ("::1", "::1"),
        ("[::1]", "::1"),
    ] {
        assert_eq!(host(text).as_deref(), Ok(expected), "{text}");
    }
    for text in [
        "",
        "redis:6379",
        "redis://redis",
        "a b",
        "[::1]:6379",
        "redis/0",
    ] {
        host(text).expect_err(text);
    }
}

#[test]
fn addresses_to_listen_on() {
    for (text, expected) in [
        ("0.0.0.0:9000", "0.0.0.0:9000"),
        (":9000", "[::]:9000"),
        ("[::]:9000", "[::]:9000"),
        ("127.0.0.1:0, [::1]:0", "127.0.0.1:0,[::1]:0"),
        ("none", ""),
        ("None", ""),
    ] {
        let found = addresses(text).expect(text);
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found.join(","), expected, "{text}");
    }
    for (text, part, expected) in [
        ("localhost:9000", "localhost:9000", "has a name where"),
        ("0.0.0.0:9000,x", "x", "is not an address with a port"),
        ("0.0.0.0:9000,", "", "is no address (a comma too many?)"),
        ("0.0.0.0", "0.0.0.0", "has no port"),
        ("::1", "::1", "is not a port"),
        ("[::1]", "[::1]", "is not an address with a port"),
        ("9000", "9000", "is only a port"),
        (":99999", ":99999", "is not a port"),
        (
            "http://0.0.0.0:9000",
            "http://0.0.0.0:9000",
            "is not an address with a port",
        ),
    ] {
        let wrong = addresses(text).expect_err(text);
        assert_eq!(wrong.part.as_deref(), Some(part), "{text}");
        assert!(
            wrong.reason.starts_with(expected),
            "{text}: {}",
            wrong.reason
        );
    }
}

#[test]
fn networks_and_single_addresses() {
    for (text, expected) in [
        ("10.0.0.0/8,::1/128", "10.0.0.0/8,::1/128"),
        ("192.0.2.7", "192.0.2.7/32"),
        ("::1", "::1/128"),
        ("10.1.2.3/8", "10.0.0.0/8"),
        ("none", ""),
    ] {
        let found = networks(text).expect(text);
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found.join(","), expected, "{text}");
    }
    for text in ["", "10.0.0.0/33", "10.0.0/8", "proxy", "10.0.0.0/8;::1"] {
        networks(text).expect_err(text);
    }
}

#[test]
fn counts_have_a_lower_bound_and_a_type() {
    assert_eq!(count::<u16>(1)("6379"), Ok(6379));
    assert_eq!(reason(count::<u16>(1)("0")), "is less than 1");
    for text in ["65536", "-1", "1.5", "", "ten"] {
        count::<u16>(1)(text).expect_err(text);
    }
}

#[test]
fn durations() {
    for (text, expected) in [
        ("500ms", 500),
        ("25s", 25_000),
        ("25", 25_000),
        ("10m", 600_000),
        ("1h", 3_600_000),
        ("1h30m", 5_400_000),
        ("1m0s500ms", 60_500),
        ("0", 0),
    ] {
        assert_eq!(
            duration(Duration::ZERO)(text),
            Ok(Duration::from_millis(expected)),
            "{text}"
        );
    }
    for text in ["", "s", "10 s", "1.5s", "-1s", "1d", "10min", "s10", "1h30"] {
        assert_eq!(
            reason(duration(Duration::ZERO)(text)),
            "is not a duration",
            "{text}"
        );
    }
    for text in ["9000h", "18446744073709551615"] {
        assert_eq!(
            reason(duration(Duration::ZERO)(text)),
            "is longer than a year",
            "{text}"
        );
    }
    assert_eq!(
        reason(duration(Duration::ZERO)("18446744073709551615h")),
        "is not a duration"
    );
    assert_eq!(
        reason(duration(Duration::from_secs(1))("999ms")),
        "is shorter than 1s"
    );
}

#[test]
fn sizes() {
    for (text, expected) in [
        ("0", 0),
        ("65536", 65_536),
        ("512B", 512),
        ("64KiB", 65_536),
        ("64 KiB", 65_536),
        ("64mib", 67_108_864),
        ("64Mi", 67_108_864),
        ("1GiB", 1_073_741_824),
    ] {
        assert_eq!(size(0)(text), Ok(expected), "{text}");
    }
    for text in [
        "",
        "MiB",
        "64MB",
        "64M",
        "1.5MiB",
        "-1",
        "99999999999999999GiB",
    ] {
        assert_eq!(reason(size(0)(text)), "is not a size", "{text}");
    }
    assert_eq!(reason(size(8192)("8191")), "is less than 8192 bytes");
}

#[test]
fn paths_are_not_contents() {
    assert_eq!(path("/etc/ca.pem"), Ok(PathBuf::from("/etc/ca.pem")));
    path("-----BEGIN CERTIFICATE-----\nMIIB").expect_err("the content of a file");
}
