//! Every setting, defined once. The file's keys, the variables, the defaults, `--help`, the reference,
//! the manual and the suggestions for misspelled names are made from the definitions.

mod authentik;
mod definition;
mod discover;
mod kind;
mod listen;
mod parse;
mod process;
mod redis;
mod session;
mod values;

pub use authentik::{Authentik, Control};
pub use definition::{FILE_VARIABLE, Fallback, IGNORED_VARIABLES, OWN_PREFIX, Setting};
pub(super) use definition::{Source, Typed, derived_variable};
pub use discover::Discover;
pub use kind::Kind;
pub use listen::{ForwardAuth, Listen, Upstream};
pub(super) use parse::{ParseError, SOCKET_SCHEME, duration, flag, networks};
pub use process::{Log, Shutdown, Tls};
pub use redis::RedisOptions;
pub(super) use redis::RedisServers;
pub use session::{Identity, Session};
pub use values::{
    CookiePrefix, LogLevel, Node, RedisTopology, SessionStore, TlsReqs, UnknownLogLevel, WhenDown,
    WhenUnconfirmed, is_v6_only, reachable,
};

/// The sections, in the order of the documentation.
const SECTIONS: [&[Setting]; 13] = [
    Authentik::SETTINGS,
    Listen::SETTINGS,
    ForwardAuth::SETTINGS,
    Upstream::SETTINGS,
    Log::SETTINGS,
    Control::SETTINGS,
    Session::SETTINGS,
    Identity::SETTINGS,
    Shutdown::SETTINGS,
    RedisServers::SETTINGS,
    RedisOptions::SETTINGS,
    Tls::SETTINGS,
    Discover::SETTINGS,
];

/// Every setting, in the order of the documentation.
pub fn settings() -> impl Iterator<Item = &'static Setting> {
    SECTIONS.into_iter().flatten()
}

/// The setting with this key, and the key's text; the key may be a former one.
pub(super) fn by_key(key: &str) -> Option<(&'static Setting, &'static str)> {
    settings().find_map(|setting| {
        let mut keys = [Some(setting.key), setting.former_key]
            .into_iter()
            .flatten();
        Some((setting, keys.find(|known| *known == key)?))
    })
}

#[cfg(test)]
mod tests;
