//! Return targets that are too long for the state of a login: the browser keeps them in cookies of the
//! callback, and the state has their hash. Nothing is stored, and a cookie that another host has set
//! leads nowhere.

use std::sync::Arc;

use aws_lc_rs::digest;
use axum::body::Body;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, Response, StatusCode};

use crate::gateway::auth::new_session::cookie_attributes;
use crate::gateway::response::{append_cookie, html};
use crate::route::Site;
use crate::web::cookie;
use crate::web::page::Page;

/// Length of a return target in a state, in bytes: it travels to authentik and back in a URL, of which
/// servers accept 8 KiB.
const MAX_STATE_TARGET_BYTES: usize = 4096;

/// Length of the value of a cookie, in bytes; browsers accept 4096 with the name (RFC 6265 section
/// 6.1).
const PIECE_BYTES: usize = 3800;

/// Cookies for one target: enough for [`super::target::MAX_TARGET_BYTES`].
const PIECES: usize = 3;

/// Whether the state cannot hold a target.
pub(crate) fn is_long(target: &str) -> bool {
    target.len() > MAX_STATE_TARGET_BYTES
}

/// The hash of a target, for the state.
pub(super) fn hash(target: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, target.as_bytes()))
}

/// Gives the browser a target to keep for `max_age` seconds. A target that was kept before is lost.
pub(super) fn keep(response: &mut Response<Body>, site: &Site, target: &str, max_age: i64) {
    // Target and substitutes are ASCII, so that every place is a boundary.
    let value = target.replace(';', "{").replace(',', "}");
    let pieces = value.as_bytes().chunks(PIECE_BYTES);
    for (name, piece) in names(site).zip(pieces) {
        let piece = String::from_utf8_lossy(piece);
        append_cookie(response, &set(site, &name, &piece, max_age));
    }
}

/// The target with this hash that the browser has kept.
pub(super) fn kept(site: &Site, headers: &HeaderMap, hash: &str) -> Option<String> {
    let mut value = Vec::new();
    for name in names(site) {
        value.extend(cookie::values(headers, &name).next()?);
        let target = std::str::from_utf8(&value).ok()?;
        let target = target.replace('{', ";").replace('}', ",");
        if self::hash(&target) == hash {
            return Some(target);
        }
    }
    None
}

/// Removes what the browser has kept.
pub(super) fn remove(response: &mut Response<Body>, site: &Site, headers: &HeaderMap) {
    for name in names(site) {
        if cookie::values(headers, &name).next().is_some() {
            append_cookie(response, &set(site, &name, "", 0));
        }
    }
}

/// The page after a sign-in whose target is lost.
pub(super) fn lost_page(site: &Arc<Site>) -> Response<Body> {
    let page = Page {
        title: "You are signed in",
        text: "The address that you wanted to open is long, and your browser did not keep it. Please open it again.",
        application: Some(&site.application.title),
        ..Page::default()
    };
    html(StatusCode::OK, &page)
}

/// The names of the cookies. They are the same for every target, so that their number is limited.
fn names(site: &Site) -> impl Iterator<Item = String> {
    let login = &site.cookies.plain.login;
    (1..=PIECES).map(move |piece| format!("{login}_{piece}"))
}

/// A `Set-Cookie` value for the callback alone: with every other request it would be too large for some
/// servers.
fn set(site: &Site, name: &str, value: &str, max_age: i64) -> String {
    let uri = site.application.redirect_uri();
    let after_scheme = uri.split_once("://").map_or("", |(_, rest)| rest);
    let path = after_scheme.split('?').next().unwrap_or_default();
    let path = path.find('/').map_or("/", |slash| &path[slash..]);
    cookie::set_below(path, name, value, cookie_attributes(site, max_age))
}
