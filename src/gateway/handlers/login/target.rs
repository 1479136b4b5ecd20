//! The return target of a login: the URL in `rd`, if it belongs to the application.

use std::borrow::Cow;

use percent_encoding::{
    AsciiSet, CONTROLS, percent_decode_str, percent_encode, utf8_percent_encode,
};
use url::Url;

use crate::model::{Application, Mode, RequestedUrl};

/// Length of a return target, in bytes: 8 KiB of path and query, and the host.
pub(super) const MAX_TARGET_BYTES: usize = 8 * 1024 + 512;

/// What is percent-encoded in `Location`: all that RFC 3986 allows neither in a path nor in a query,
/// but for brackets, which browsers send as they are (`?a[]=1`) and which have to come back so. A `%`
/// is part of an escape that the client sent, and `#` may begin a fragment.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// What a decoded `rd` may have that no request line has.
const SPACE: &AsciiSet = &AsciiSet::EMPTY.add(b' ');

/// The absolute URL to return to: the requested one if it belongs to the application, with escapes
/// where RFC 3986 wants them and else byte for byte; the application's external URL otherwise.
pub(crate) fn of(
    application: &Application,
    requested: Option<&str>,
) -> Result<String, TargetTooLong> {
    let Some(requested) = requested else {
        return Ok(application.external.as_str().to_owned());
    };
    limited(requested)?;
    match within(application, requested) {
        Some(target) => limited(&target).map(|()| target),
        None => Ok(application.external.as_str().to_owned()),
    }
}

/// The return target is longer than 8 KiB.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TargetTooLong;

fn limited(target: &str) -> Result<(), TargetTooLong> {
    if target.len() > MAX_TARGET_BYTES {
        return Err(TargetTooLong);
    }
    Ok(())
}

/// The absolute URL of a target that the application itself was asked for: `path_and_query` begins
/// with `/`, and follows its host whatever comes then.
pub(crate) fn of_own(
    application: &Application,
    path_and_query: &str,
) -> Result<String, TargetTooLong> {
    limited(path_and_query)?;
    let (origin, target) = (application.external.origin(), escaped(path_and_query));
    let target = format!("{origin}{target}");
    limited(&target).map(|()| target)
}

/// The path of a requested target: several applications may share a host.
pub(crate) fn path(requested: &str) -> Option<&str> {
    if requested.starts_with('/') {
        return requested.split('?').next();
    }
    RequestedUrl::parse(requested).ok().map(|url| url.path())
}

/// The value of `rd`, in either of the two ways in which reverse proxies write it.
///
/// nginx pastes `$scheme://$host$request_uri` as it is: everything that follows `rd=` is
/// then the target, `&` and percent-encoding included. ingress-nginx and the outpost's pages encode it:
/// then the value ends at `&` and is decoded once. A `/` after the host, or at the start of a
/// relative target, that is not encoded tells the first from the second.
///
/// Spaces and bytes beyond ASCII, which a URL has as escapes only, are percent-encoded again.
pub(crate) fn requested(query: &str) -> Option<Cow<'_, str>> {
    let start = if query.starts_with("rd=") {
        0
    } else {
        query.find("&rd=")? + 1
    };
    let value = &query[start + "rd=".len()..];
    let after_scheme = value.split_once("://");
    let pasted = match after_scheme {
        Some((scheme, rest)) if !scheme.contains(['%', '&']) => {
            let authority = rest.split(['/', '?', '&']).next().unwrap_or_default();
            !authority.contains('%') && !rest[authority.len()..].starts_with('&')
        }
        _ => value.starts_with('/'),
    };
    if pasted {
        return Some(utf8_percent_encode(value, SPACE).into());
    }
    let value = value.split('&').next().unwrap_or_default();
    let decoded: Cow<'_, [u8]> = percent_decode_str(value).into();
    Some(match percent_encode(&decoded, SPACE).into() {
        Cow::Borrowed(_) if matches!(decoded, Cow::Borrowed(_)) => Cow::Borrowed(value),
        encoded => Cow::Owned(encoded.into_owned()),
    })
}

/// A requested target as an absolute URL of the application, or `None` if it leads elsewhere. What
/// is percent-encoded here cannot lead elsewhere: it follows the host.
fn within(application: &Application, requested: &str) -> Option<String> {
    let origin = application.external.origin();
    if requested.starts_with('/') {
        let absolute = format!("{origin}{requested}");
        let url = RequestedUrl::parse(&absolute).ok()?;
        // Browsers resolve `//host` and `/\host` to another host.
        let resolved = Url::parse(&origin).ok()?.join(requested).ok()?;
        return (resolved.host_str() == Some(application.external.host())
            && url.authority().canonical_host() == application.external.host())
        .then(|| format!("{origin}{}", escaped(requested)));
    }
    let url = RequestedUrl::parse(requested).ok()?;
    let host = url.authority().canonical_host();
    match &application.mode {
        Mode::ForwardDomain(domain) => domain.contains(&host).then(|| {
            format!(
                "{}://{}{}",
                url.scheme().as_str(),
                url.authority(),
                escaped(&url.path_and_query())
            )
        }),
        // The application's own scheme and port, whatever a proxy in between believes.
        Mode::Proxy | Mode::ForwardSingle => (host == application.external.host())
            .then(|| format!("{origin}{}", escaped(&url.path_and_query()))),
    }
}

fn escaped(path_and_query: &str) -> Cow<'_, str> {
    utf8_percent_encode(path_and_query, ESCAPED).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::CookieDomain;

    fn landing(application: &Application, query: &str) -> String {
        of(application, requested(query).as_deref()).expect("short")
    }

    #[test]
    fn lands_on_the_page_that_was_asked_for_byte_for_byte() {
        let single = Application::sample("https://a.test", Mode::ForwardSingle);
        for (query, expected) in [
            ("", "https://a.test"),
            ("x=1", "https://a.test"),
            // nginx pastes the request URI as it is.
            (
                "rd=https://a.test/p?q=1&r=%20a+b&s={x}",
                "https://a.test/p?q=1&r=%20a+b&s=%7Bx%7D",
            ),
            ("rd=https://a.test/", "https://a.test/"),
            ("rd=https://a.test", "https://a.test/"),
            ("rd=/p%2Fq?x=1&y=2", "https://a.test/p%2Fq?x=1&y=2"),
            // ingress-nginx encodes it.
            (
                "rd=https://a.test%2Fp%3Fq%3D1%26r%3D%2520a%2Bb",
                "https://a.test/p?q=1&r=%20a+b",
            ),
            ("rd=https%3A%2F%2Fa.test%2Fp&x=1", "https://a.test/p"),
            ("x=1&rd=%2Fp%3Fq", "https://a.test/p?q"),
            // What a URL has as escapes only.
            ("rd=%2Fpfad%2F%C3%BC", "https://a.test/pfad/%C3%BC"),
            ("rd=%2Flatin%2F%FC", "https://a.test/latin/%FC"),
            (
                "rd=/pfad/\u{fc}?\u{fc}",
                "https://a.test/pfad/%C3%BC?%C3%BC",
            ),
            ("rd=%2Fa%20b%3Fc%20d", "https://a.test/a%20b?c%20d"),
            (
                "rd=https%3A%2F%2Fa.test%2F%C3%BC%20b",
                "https://a.test/%C3%BC%20b",
            ),
            ("rd=%2F%25C3%25BC%2520", "https://a.test/%C3%BC%20"),
            (
                "rd=/p?\"<>[\\]^`{|}",
                "https://a.test/p?%22%3C%3E[%5C]%5E%60%7B%7C%7D",
            ),
            ("rd=/a\\b\\..\\c", "https://a.test/a%5Cb%5C..%5Cc"),
            (
                "rd=/-._~!$&'()*+,;=:@/?%41#",
                "https://a.test/-._~!$&'()*+,;=:@/?%41#",
            ),
            // The application's own scheme and port win.
            ("rd=http://a.test:8080/p", "https://a.test/p"),
        ] {
            assert_eq!(landing(&single, query), expected, "{query}");
        }
        let port = Application::sample("https://a.test:8443", Mode::ForwardSingle);
        assert_eq!(
            landing(&port, "rd=https://a.test/p"),
            "https://a.test:8443/p"
        );
    }

    #[test]
    fn domain_mode_returns_to_hosts_below_the_domain() {
        let domain = CookieDomain::parse("home.test").expect("a domain");
        let application =
            Application::sample("https://auth.home.test", Mode::ForwardDomain(domain));
        for (query, expected) in [
            (
                "rd=https://x.home.test:8443/p?q",
                "https://x.home.test:8443/p?q",
            ),
            ("rd=https://home.test/", "https://home.test/"),
            ("rd=https://evilhome.test/", "https://auth.home.test"),
            ("rd=https://home.test.evil.tld/", "https://auth.home.test"),
            (
                "rd=javascript://home.test/%0aalert(1)",
                "https://auth.home.test",
            ),
        ] {
            assert_eq!(landing(&application, query), expected, "{query}");
        }
    }

    #[test]
    fn cve_2017_1000070_and_kin_no_open_redirect() {
        let single = Application::sample("https://a.test", Mode::ForwardSingle);
        for evil in [
            "//e.test",
            "/\\e.test",
            "/\\\\e.test",
            "/\u{fc}\n/e.test",
            "https://a.test\u{fc}.e.test/",
            "https://\u{fc}@e.test/",
            "https://a.test @e.test/",
            " //e.test",
            "\u{fc}//e.test",
            "/\t/e.test",
            "/%09/e.test\t",
            "\\\\e.test",
            "https:e.test",
            "https:///e.test",
            "http://a.test@e.test",
            "https://a.test:x@e.test/",
            "javascript:alert(1)",
            "data:text/html,x",
            ".e.test",
            "HTTPS://E.TEST",
            "https://a.test.e.test/",
            "https://a.te\u{17f}t/",
            "https://a.test\0/",
            "/\r\nLocation: x",
            "https://a.test\\.e.test/",
            "e.test/a.test",
            "///e.test",
            "https://e.test/https://a.test/",
            "https://e.test?https://a.test/",
            "https://e.test#a.test",
        ] {
            let encoded = utf8(evil);
            for query in [format!("rd={encoded}"), format!("rd={evil}")] {
                let landed = landing(&single, &query);
                let url = Url::parse(&landed).expect("a URL");
                assert_eq!(
                    (url.scheme(), url.host_str()),
                    ("https", Some("a.test")),
                    "{query:?} -> {landed}"
                );
                assert!(landed.bytes().all(|b| b.is_ascii_graphic()), "{landed:?}");
            }
        }
    }

    #[test]
    fn targets_above_8_kib_are_refused_however_they_grow() {
        let single = Application::sample("https://a.test", Mode::ForwardSingle);
        let of = |target: &str| super::of(&single, Some(target));
        let exact = format!("https://a.test/{}", "a".repeat(8191));
        assert_eq!(of(&exact), Ok(exact.clone()));
        assert_eq!(of_own(&single, &exact["https://a.test".len()..]), Ok(exact));
        for long in [
            format!("/{}", "a".repeat(9000)),
            format!("/?{}", "{".repeat(3000)),
            format!("https://e.test/{}", "a".repeat(17_000)),
        ] {
            assert_eq!(of(&long), Err(TargetTooLong));
        }
        let growing = format!("/?{}", "{".repeat(3000));
        assert_eq!(of_own(&single, &growing), Err(TargetTooLong));
    }

    fn utf8(text: &str) -> String {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    }
}
