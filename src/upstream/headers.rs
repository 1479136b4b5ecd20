//! The headers of a request that is proxied, and of the response to it.
//!
//! The client's headers are filtered first and those of the outpost are set afterwards, so that no
//! header of the client can replace or remove one of them.

use bytes::Bytes;
use http::header;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::request::{ProxyRequest, SetHeaders};
use crate::web::cookie;
use crate::web::header::names;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// The headers for the application, without its `Host`. `chunked`: whether a body of unknown length
/// is sent in chunks.
pub(super) fn outbound(
    request: &ProxyRequest<'_>,
    requested_host: HeaderValue,
    chunked: bool,
) -> HeaderMap {
    let (received, trusted) = (&request.parts.headers, request.inbound.trusted);
    let nominated = Nominated::of(received);
    let reserved = request.set.reserved;
    let mut headers = HeaderMap::with_capacity(received.len() + 24);
    headers.insert(FORWARDED_HOST, requested_host);
    // Lookalikes are rare, and looking for them at each header that is set would be expensive.
    let mut has_lookalikes = false;
    for (name, value) in received {
        let is_plain = names::is_plain(name.as_str());
        let dropped = is_never_passed_on(name, is_plain)
            || reserved.iter().any(|reserved| resembles(reserved, name))
            || nominated.has(name)
            || (!trusted && is_forwarded(name.as_str()))
            || (request.credentials_consumed && name == header::AUTHORIZATION);
        if !dropped {
            has_lookalikes |= !is_plain;
            headers.append(name.clone(), value.clone());
        }
    }
    if let Some(cookies) = cookie::foreign(received) {
        headers.insert(header::COOKIE, cookies);
    }
    set_forwarded(request, &mut headers);
    set_own(&request.set, has_lookalikes, &mut headers);
    set_framing(received, chunked, &mut headers);
    headers
}

/// Leaves of a request's trailers what its head could have had, and does not have: applications
/// that join the two must not take a trailer for a header of the outpost.
pub(super) fn filter_trailers(trailers: &mut HeaderMap, head: &[HeaderName]) {
    let dropped = |name: &HeaderName| {
        is_never_passed_on(name, names::is_plain(name.as_str()))
            || is_forwarded(name.as_str())
            || *name == header::AUTHORIZATION
            || head.iter().any(|sent| resembles(sent, name))
    };
    let dropped: Vec<_> = trailers
        .keys()
        .filter(|name| dropped(name))
        .cloned()
        .collect();
    for name in dropped {
        trailers.remove(name);
    }
}

/// The headers of the response for the client.
pub(super) fn inbound(mut headers: HeaderMap) -> HeaderMap {
    let nominated = Nominated::of(&headers).0;
    if headers.contains_key(header::TRANSFER_ENCODING) {
        // Chunks counted when the response was read (RFC 9112 section 6.3).
        headers.remove(header::CONTENT_LENGTH);
    }
    for name in [
        header::CONNECTION,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        header::TE,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ] {
        headers.remove(name);
    }
    for name in nominated {
        headers.remove(name);
    }
    drop_own_cookies(&mut headers);
    headers
}

/// Removes `Set-Cookie` of the outpost's own cookies: an application could sign its users in as
/// another user.
pub(super) fn drop_own_cookies(headers: &mut HeaderMap) {
    let is_own = |line: &HeaderValue| cookie::is_own(line.as_bytes());
    let lines = headers.get_all(header::SET_COOKIE);
    if !lines.iter().any(is_own) {
        return;
    }
    let kept: Vec<_> = lines.iter().filter(|line| !is_own(line)).cloned().collect();
    headers.remove(header::SET_COOKIE);
    for line in kept {
        headers.append(header::SET_COOKIE, line);
    }
}

/// Headers that `Connection` may name. Each is compared with all others.
const MAX_NOMINATED: usize = 64;

/// Whether `Connection` names more headers than that.
pub(super) fn nominates_too_many(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::CONNECTION).into_iter();
    let names = lines.flat_map(|line| line.as_bytes().split(|b| *b == b','));
    names.take(MAX_NOMINATED + 1).count() > MAX_NOMINATED
}

/// The headers that `Connection` lists, which are for the next hop alone (RFC 9110 section 7.6.1).
struct Nominated(Vec<HeaderName>);

impl Nominated {
    fn of(headers: &HeaderMap) -> Self {
        let lines = headers.get_all(header::CONNECTION).into_iter();
        let tokens = lines.flat_map(|line| line.as_bytes().split(|b| *b == b','));
        let names = tokens.map(<[u8]>::trim_ascii).filter(|token| {
            // These name no header that is not dropped anyway.
            !(token.is_empty()
                || token.eq_ignore_ascii_case(b"keep-alive")
                || token.eq_ignore_ascii_case(b"close")
                || token.eq_ignore_ascii_case(b"upgrade"))
        });
        Self(
            names
                .filter_map(|token| HeaderName::from_bytes(token).ok())
                .collect(),
        )
    }

    fn has(&self, name: &HeaderName) -> bool {
        self.0.contains(name)
    }
}

/// Whether a header of this name is never passed on, not even from a trusted proxy.
fn is_never_passed_on(name: &HeaderName, is_plain: bool) -> bool {
    if is_plain {
        is_outposts(name.as_str()) || is_hop_by_hop(name)
    } else {
        is_lookalike(name)
    }
}

/// Headers about one connection, and headers that are built anew.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    *name == header::CONNECTION
        || *name == header::HOST
        || *name == header::COOKIE
        || *name == header::CONTENT_LENGTH
        || *name == header::TRANSFER_ENCODING
        || *name == header::UPGRADE
        || *name == header::TE
        || *name == header::EXPECT
        || *name == header::PROXY_AUTHORIZATION
        || *name == KEEP_ALIVE
        || *name == PROXY_CONNECTION
        || *name == HTTP2_SETTINGS
}

/// Whether applications may take a name that is not plain for one that only the outpost may send or
/// that frames messages (CVE-2025-64484, CVE-2026-33433). No reverse proxy and no browser uses such
/// spellings.
fn is_lookalike(name: &HeaderName) -> bool {
    let text = names::folded(name.as_str());
    is_outposts(&text)
        || is_forwarded(&text)
        || names::overrides_method(&text)
        || text == "x-request-id"
        || HeaderName::try_from(&*text).is_ok_and(|name| is_hop_by_hop(&name))
}

/// Whether only the outpost may send a header of this plain name: names of users, and headers that
/// some applications take for the path, which then would not be the authorized one. A reverse proxy in
/// front passes on what clients send under most of these names.
fn is_outposts(name: &str) -> bool {
    match name.strip_prefix("x-") {
        Some(name) => {
            name.starts_with("authentik-")
                || name.starts_with("webauth-")
                || name.starts_with("auth-request-")
                || is_remote_user(name)
                || matches!(
                    name,
                    "original-url"
                        | "original-uri"
                        | "rewrite-url"
                        | "override-url"
                        | "envoy-original-path"
                        | "forwarded-for"
                        | "forwarded-host"
                        | "forwarded-proto"
                        | "forwarded-prefix"
                        | "forwarded-path"
                        | "forwarded-uri"
                        | "forwarded-user"
                        | "forwarded-email"
                        | "forwarded-groups"
                        | "forwarded-preferred-username"
                        | "forwarded-access-token"
                )
        }
        // CGI programs take `Proxy` for the setting `HTTP_PROXY` (CVE-2016-5385, "httpoxy").
        None => is_remote_user(name) || matches!(name, "forwarded" | "proxy"),
    }
}

fn is_remote_user(name: &str) -> bool {
    let remote = name.strip_prefix("remote-");
    remote.is_some_and(|name| matches!(name, "user" | "email" | "name" | "group" | "groups"))
}

/// Whether a plain name is one by which proxies describe the original request. Only trusted proxies
/// may send it.
fn is_forwarded(name: &str) -> bool {
    name.starts_with("x-forwarded-") || matches!(name, "x-real-ip" | "forwarded")
}

/// Sets `X-Forwarded-*` and, where it is there, `X-Real-IP`.
fn set_forwarded(request: &ProxyRequest<'_>, headers: &mut HeaderMap) {
    let inbound = request.inbound;
    let peer = inbound.peer.to_string();
    let mut chain: Vec<u8> = Vec::new();
    if inbound.trusted {
        for line in request.parts.headers.get_all(FORWARDED_FOR) {
            if !line.is_empty() {
                chain.extend_from_slice(line.as_bytes());
                chain.extend_from_slice(b", ");
            }
        }
    }
    chain.extend_from_slice(peer.as_bytes());
    if let Ok(chain) = HeaderValue::from_maybe_shared(Bytes::from(chain)) {
        headers.insert(FORWARDED_FOR, chain);
    }
    let scheme = HeaderValue::from_static(inbound.scheme.as_str());
    headers.insert(FORWARDED_PROTO, scheme);
    // A proxy that sets the client's address in one of the two may pass on the other one unchecked.
    if headers.contains_key(REAL_IP)
        && let Some(client) = inbound.known_client()
        && let Ok(client) = HeaderValue::from_str(&client.to_string())
    {
        headers.insert(REAL_IP, client);
    }
}

/// Sets the outpost's own headers.
fn set_own(set: &SetHeaders<'_>, has_lookalikes: bool, headers: &mut HeaderMap) {
    let prepared = set.user.iter().chain(set.application);
    let additional = set.additional.iter().map(|(name, value)| (name, value));
    for (name, value) in prepared.chain(additional) {
        if has_lookalikes || !names::is_plain(name.as_str()) {
            drop_lookalikes(name, headers);
        }
        headers.insert(name.clone(), value.clone());
    }
}

/// Removes headers of the client that an application could take for `name`.
fn drop_lookalikes(name: &HeaderName, headers: &mut HeaderMap) {
    let found: Vec<_> = headers
        .keys()
        .filter(|other| *other != name && resembles(name, other))
        .cloned()
        .collect();
    for other in found {
        headers.remove(other);
    }
}

fn resembles(name: &HeaderName, other: &HeaderName) -> bool {
    names::resembles(name.as_str(), other.as_str())
}

/// Sets the headers that frame the body. Of chunks and a length, chunks count (RFC 9112 section 6.1),
/// as they did when the request was read.
fn set_framing(received: &HeaderMap, chunked: bool, headers: &mut HeaderMap) {
    for name in [
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::CONTENT_LENGTH,
    ] {
        headers.remove(name);
    }
    let length = received.get(header::CONTENT_LENGTH);
    match length.filter(|_| !received.contains_key(header::TRANSFER_ENCODING)) {
        Some(length) => {
            headers.insert(header::CONTENT_LENGTH, length.clone());
        }
        None if chunked => {
            headers.insert(
                header::TRANSFER_ENCODING,
                HeaderValue::from_static("chunked"),
            );
        }
        None => {}
    }
    let trailers = received.get_all(header::TE).into_iter();
    let mut codings = trailers.flat_map(|line| line.as_bytes().split(|b| *b == b','));
    if codings.any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers")) {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ap_2026_05_connection_names_a_few_headers() {
        for (lines, too_many) in [
            (vec!["close".to_owned()], false),
            (vec!["a,".repeat(63) + "a"], false),
            (vec!["a,".repeat(64) + "a"], true),
            (vec!["a".to_owned(); 65], true),
            (vec![",".repeat(60_000)], true),
        ] {
            let mut headers = HeaderMap::new();
            for line in &lines {
                headers.append(header::CONNECTION, line.parse().expect("a value"));
            }
            assert_eq!(nominates_too_many(&headers), too_many, "{}", lines.len());
        }
    }
}
