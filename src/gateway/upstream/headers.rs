//! The headers of a request that is passed on, and of the answer to it.
//!
//! What the client sent is sifted first, and what we say is set afterwards, so that nothing of the
//! client's can take its place or take it away.

use std::sync::Arc;

use http::header;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Outgoing, Passage};
use crate::model::{Session, UpstreamProtocol};
use crate::route::Site;
use crate::web::identity;

/// What the names of our cookies begin with, at whatever application.
const OWN_COOKIES: &[u8] = b"authentik_proxy_";

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// Neither read nor said by us, as `Forwarded`: what comes through a trusted proxy may still be the
/// client's.
const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// The headers to pass on, but for the application's `Host`; `asked` is the person's.
pub(super) fn outbound(outgoing: &Outgoing<'_>, asked: HeaderValue, has_body: bool) -> HeaderMap {
    let passage = &outgoing.passage;
    let (received, trusted) = (&passage.parts.headers, passage.inbound.trusted);
    let nominated = Nominated::of(received);
    let personal = &passage.site.application.policy.identity_headers;
    let mut headers = HeaderMap::with_capacity(received.len() + 24);
    headers.insert(FORWARDED_HOST, asked);
    // Rare, and looking for them at each header of ours would be dear.
    let mut has_lookalikes = false;
    for (name, value) in received {
        let dropped = is_ours_to_say(name)
            || is_hop_by_hop(name)
            || personal.iter().any(|said| resembles(said, name))
            || nominated.has(name)
            || (!trusted && is_forwarded(name))
            || (outgoing.consumed && name == header::AUTHORIZATION);
        if !dropped {
            has_lookalikes |= is_odd(name);
            headers.append(name.clone(), value.clone());
        }
    }
    if let Some(cookies) = foreign_cookies(received) {
        headers.insert(header::COOKIE, cookies);
    }
    forward(passage, &mut headers);
    identify(passage.site, outgoing.session, has_lookalikes, &mut headers);
    let chunked = has_body && outgoing.protocol == UpstreamProtocol::Http1;
    frame(received, chunked, &mut headers);
    headers
}

/// Leaves of a request's trailers what its head could have had, and does not have: applications
/// that join the two must not take them for what we say.
pub(super) fn sift_trailers(trailers: &mut HeaderMap, head: &[HeaderName]) {
    let dropped = |name: &HeaderName| {
        is_ours_to_say(name)
            || is_hop_by_hop(name)
            || is_forwarded(name)
            || *name == header::AUTHORIZATION
            || head.iter().any(|said| resembles(said, name))
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

/// The application's headers, for the client.
pub(super) fn inbound(mut headers: HeaderMap) -> HeaderMap {
    let nominated = Nominated::of(&headers).0;
    if headers.contains_key(header::TRANSFER_ENCODING) {
        // Chunks counted when the answer was read (RFC 9112 section 6.3).
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
    headers
}

/// What `Connection` lists: headers for us alone (RFC 9110 section 7.6.1).
struct Nominated(Vec<HeaderName>);

impl Nominated {
    fn of(headers: &HeaderMap) -> Self {
        let lines = headers.get_all(header::CONNECTION).into_iter();
        let tokens = lines.flat_map(|line| line.as_bytes().split(|b| *b == b','));
        let names = tokens.map(<[u8]>::trim_ascii).filter(|token| {
            // The usual ones name no header that is not dropped anyway.
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

/// Headers about one connection, and those that are made anew.
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

/// Headers that only we may send, in whatever spelling applications take for theirs
/// (CVE-2025-64484, CVE-2026-33433): many read `_` and `-` as the same.
fn is_ours_to_say(name: &HeaderName) -> bool {
    let text = name.as_str();
    if is_odd(name) {
        let text = text.replace(['_', '.'], "-");
        return text.starts_with("x-authentik-")
            || text == "x-real-ip"
            || is_path(&text)
            || HeaderName::try_from(text).is_ok_and(|name| is_forwarded(&name));
    }
    text.starts_with("x-authentik-")
        || is_path(text)
        || *name == header::FORWARDED
        || *name == FORWARDED_PREFIX
        || *name == FORWARDED_FOR
        || *name == FORWARDED_PROTO
        || *name == FORWARDED_HOST
}

/// Whether a name is one that applications may take for another.
fn is_odd(name: &HeaderName) -> bool {
    name.as_str().bytes().any(|b| matches!(b, b'_' | b'.'))
}

/// Headers that some applications take for the path, which then would not be the one that was
/// decided on.
fn is_path(name: &str) -> bool {
    matches!(name, "x-original-url" | "x-original-uri" | "x-rewrite-url")
}

/// Headers by which proxies pass on what they saw: worth something from a trusted peer only.
fn is_forwarded(name: &HeaderName) -> bool {
    let text = name.as_str();
    text.starts_with("x-forwarded-") || text == "x-real-ip" || *name == header::FORWARDED
}

/// All cookies but ours, in one line, as HTTP/1.1 has it.
fn foreign_cookies(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut lines = headers.get_all(header::COOKIE).into_iter();
    let first = lines.next()?;
    let rest: Vec<_> = lines.collect();
    let has_ours = |line: &HeaderValue| {
        let mut places = line.as_bytes().windows(OWN_COOKIES.len());
        places.any(|place| place == OWN_COOKIES)
    };
    if rest.is_empty() && !has_ours(first) {
        return Some(first.clone());
    }
    let mut kept: Vec<u8> = Vec::with_capacity(first.len());
    for line in std::iter::once(first).chain(rest) {
        for cookie in line.as_bytes().split(|b| *b == b';') {
            let cookie = cookie.trim_ascii();
            if cookie.is_empty() || cookie.starts_with(OWN_COOKIES) {
                continue;
            }
            if !kept.is_empty() {
                kept.extend_from_slice(b"; ");
            }
            kept.extend_from_slice(cookie);
        }
    }
    if kept.is_empty() {
        return None;
    }
    HeaderValue::from_maybe_shared(bytes::Bytes::from(kept)).ok()
}

/// Says who sent the request, and how.
fn forward(passage: &Passage<'_>, headers: &mut HeaderMap) {
    let inbound = passage.inbound;
    let peer = inbound.peer.to_string();
    let mut chain: Vec<u8> = Vec::new();
    if inbound.trusted {
        for line in passage.parts.headers.get_all(FORWARDED_FOR) {
            if !line.is_empty() {
                chain.extend_from_slice(line.as_bytes());
                chain.extend_from_slice(b", ");
            }
        }
    }
    chain.extend_from_slice(peer.as_bytes());
    if let Ok(chain) = HeaderValue::from_maybe_shared(bytes::Bytes::from(chain)) {
        headers.insert(FORWARDED_FOR, chain);
    }
    let scheme = HeaderValue::from_static(inbound.scheme.as_str());
    headers.insert(FORWARDED_PROTO, scheme);
}

/// Says whose request it is.
fn identify(
    site: &Site,
    session: Option<&Arc<Session>>,
    has_lookalikes: bool,
    headers: &mut HeaderMap,
) {
    let nobody;
    let person = if let Some(session) = session {
        &session.headers
    } else {
        nobody = identity::nobody();
        &nobody
    };
    let extra = site.extra.iter();
    let extra = extra.map(|(name, value)| (name, value.current()));
    let said = person.iter().chain(&site.meta);
    let said = said.map(|(name, value)| (name, value.clone())).chain(extra);
    for (name, value) in said {
        if has_lookalikes || is_odd(name) {
            drop_lookalikes(name, headers);
        }
        headers.insert(name.clone(), value);
    }
}

/// Removes what the client says under a name that an application could take for `name`.
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

/// Whether applications may take two names for the same.
fn resembles(name: &HeaderName, other: &HeaderName) -> bool {
    let letter = |b: u8| if matches!(b, b'_' | b'.') { b'-' } else { b };
    let (name, other) = (name.as_str().bytes(), other.as_str().bytes());
    name.map(letter).eq(other.map(letter))
}

/// Says where the body ends. Chunks count where both are given (RFC 9112 section 6.1), as they did
/// when the request was read.
fn frame(received: &HeaderMap, chunked: bool, headers: &mut HeaderMap) {
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
