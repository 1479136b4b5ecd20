//! The parsers that settings are defined with: a function of [`parse`] with the kind of its values.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::SecretString;
use url::Url;
use uuid::Uuid;

use crate::config::settings::kind::Kind;
use crate::config::settings::parse::{self, ParseError};
use crate::config::settings::values::{
    CookiePrefix, LogLevel, Node, SessionStore, TlsReqs, WhenDown, WhenUnconfirmed,
};
use crate::model::Dialects;

/// Reads values of one kind, down to a minimum.
#[derive(Debug)]
pub(crate) struct Parser<T> {
    pub(crate) kind: Kind,
    /// The minimum, in the unit of the kind: milliseconds, bytes or a number.
    pub(in crate::config::settings) minimum: u64,
    read: fn(&str, u64) -> Result<T, ParseError>,
}

impl<T> Parser<T> {
    const fn new(kind: Kind, read: fn(&str, u64) -> Result<T, ParseError>) -> Self {
        Self {
            kind,
            minimum: 0,
            read,
        }
    }

    /// The value of `text`.
    pub(crate) fn parse(&self, text: &str) -> Result<T, ParseError> {
        (self.read)(text, self.minimum)
    }
}

pub(in crate::config::settings) const ADDRESSES: Parser<Vec<SocketAddr>> =
    Parser::new(Kind::Addresses, |text, _| parse::addresses(text));
pub(in crate::config::settings) const COOKIE_PREFIX: Parser<CookiePrefix> =
    Parser::new(Kind::CookiePrefix, |text, _| parse::cookie_prefix(text));
pub(in crate::config::settings) const DIALECTS: Parser<Dialects> =
    Parser::new(Kind::Dialects, |text, _| parse::dialects(text));
pub(in crate::config::settings) const FLAG: Parser<bool> =
    Parser::new(Kind::Flag, |text, _| parse::flag(text));
pub(in crate::config::settings) const HOST: Parser<String> =
    Parser::new(Kind::Host, |text, _| parse::host(text));
pub(in crate::config::settings) const LEVEL: Parser<LogLevel> =
    Parser::new(Kind::Level, |text, _| parse::level(text));
pub(in crate::config::settings) const NETWORKS: Parser<Vec<IpNet>> =
    Parser::new(Kind::Networks, |text, _| parse::networks(text));
pub(in crate::config::settings) const NODES: Parser<Vec<Node>> =
    Parser::new(Kind::Nodes, |text, _| parse::nodes(text));
pub(in crate::config::settings) const PASSWORD: Parser<SecretString> =
    Parser::new(Kind::Password, |text, _| parse::password(text));
pub(in crate::config::settings) const PATH: Parser<PathBuf> =
    Parser::new(Kind::Path, |text, _| parse::path(text));
pub(in crate::config::settings) const SESSION_STORE: Parser<SessionStore> =
    Parser::new(Kind::SessionStore, |text, _| parse::session_store(text));
pub(in crate::config::settings) const TEXT: Parser<String> =
    Parser::new(Kind::Text, |text, _| parse::text(text));
pub(in crate::config::settings) const TLS_REQS: Parser<TlsReqs> =
    Parser::new(Kind::TlsReqs, |text, _| parse::tls_reqs(text));
pub(in crate::config::settings) const TOKEN: Parser<SecretString> =
    Parser::new(Kind::Token, |text, _| parse::token(text));
pub(in crate::config::settings) const URL: Parser<Url> =
    Parser::new(Kind::Url, |text, _| parse::base_url(text));
pub(in crate::config::settings) const URL_OR_SOCKET: Parser<Url> =
    Parser::new(Kind::UrlOrSocket, |text, _| parse::base_url_or_socket(text));
pub(in crate::config::settings) const UUID: Parser<Uuid> =
    Parser::new(Kind::Uuid, |text, _| parse::uuid(text));
pub(in crate::config::settings) const WHEN_DOWN: Parser<WhenDown> =
    Parser::new(Kind::WhenDown, |text, _| parse::when_down(text));
pub(in crate::config::settings) const WHEN_UNCONFIRMED: Parser<WhenUnconfirmed> =
    Parser::new(Kind::WhenUnconfirmed, |text, _| {
        parse::when_unconfirmed(text)
    });

/// A duration of at least `milliseconds`.
pub(in crate::config::settings) const fn duration(milliseconds: u64) -> Parser<Duration> {
    Parser {
        kind: Kind::Duration,
        minimum: milliseconds,
        read: |text, minimum| parse::duration(Duration::from_millis(minimum))(text),
    }
}

/// A size of at least `bytes`.
pub(in crate::config::settings) const fn size(bytes: u64) -> Parser<usize> {
    Parser {
        kind: Kind::Size,
        minimum: bytes,
        read: |text, minimum| {
            parse::size(usize::try_from(minimum).expect("minimums are small"))(text)
        },
    }
}

/// A number of at least `minimum`.
pub(in crate::config::settings) const fn count<T>(minimum: u8) -> Parser<T>
where
    T: FromStr + PartialOrd + Display + From<u8>,
{
    Parser {
        kind: Kind::Count,
        minimum: minimum as u64,
        read: |text, minimum| {
            let minimum = u8::try_from(minimum).expect("it was one");
            parse::count(T::from(minimum))(text)
        },
    }
}

/// Milliseconds of a duration that may be zero.
pub(in crate::config::settings) const ZERO: u64 = 0;
/// Milliseconds of a duration that must not be zero.
pub(in crate::config::settings) const NONZERO: u64 = 1;
/// Milliseconds of a second.
pub(in crate::config::settings) const SECOND: u64 = 1000;
/// Milliseconds of a minute.
pub(in crate::config::settings) const MINUTE: u64 = 60 * SECOND;
