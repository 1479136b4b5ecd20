//! The pre-login cookie: binds logins to a browser and notices when they go in circles.

use aws_lc_rs::digest;

use crate::model::SessionId;

/// Starts towards one target within [`WINDOW`] seconds that are still taken for honest.
const MAX_STARTS: u8 = 4;
/// Seconds after which starts are no longer counted together.
const WINDOW: i64 = 60;

/// What the pre-login cookie says. Nothing in it needs a signature: it can only hurt whoever
/// changes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attempts {
    /// Known to this browser only; its hash is in the login state. Shared by parallel tabs.
    pub(super) browser: SessionId,
    starts: u8,
    since: i64,
    target: u32,
}

impl Attempts {
    /// Counts one more start of this browser towards `target`.
    pub(super) fn next(sent: Option<Self>, target: &str, now: i64) -> Self {
        let target = fingerprint(target);
        match sent {
            Some(sent) if sent.target == target && (0..WINDOW).contains(&(now - sent.since)) => {
                Self {
                    starts: sent.starts.saturating_add(1),
                    ..sent
                }
            }
            sent => {
                let browser = sent.map_or_else(SessionId::random, |sent| sent.browser);
                Self {
                    browser,
                    starts: 1,
                    since: now,
                    target,
                }
            }
        }
    }

    /// Whether the browser keeps coming back for the same page without being let in.
    pub(super) fn is_loop(&self) -> bool {
        self.starts > MAX_STARTS
    }

    /// Reads the cookie's value.
    pub(super) fn parse(value: &[u8]) -> Option<Self> {
        let mut fields = std::str::from_utf8(value).ok()?.split('.');
        let attempts = Self {
            browser: SessionId::parse(fields.next()?.as_bytes())?,
            starts: fields.next()?.parse().ok()?,
            since: fields.next()?.parse().ok()?,
            target: fields.next()?.parse().ok()?,
        };
        fields.next().is_none().then_some(attempts)
    }

    /// The cookie's value.
    pub(super) fn to_text(&self) -> String {
        format!(
            "{}.{}.{}.{}",
            self.browser.to_text(),
            self.starts,
            self.since,
            self.target
        )
    }
}

fn fingerprint(text: &str) -> u32 {
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    digest.as_ref()[..4]
        .iter()
        .fold(0, |number, byte| number << 8 | u32::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_starts_towards_one_target_within_a_minute() {
        let mut attempts = Attempts::next(None, "/a", 100);
        for _ in 1..MAX_STARTS {
            attempts = Attempts::next(Some(attempts), "/a", 110);
            assert!(!attempts.is_loop());
        }
        let looping = Attempts::next(Some(attempts.clone()), "/a", 120);
        assert!(looping.is_loop());
        assert!(
            !Attempts::next(Some(looping.clone()), "/b", 120).is_loop(),
            "another page"
        );
        assert!(
            !Attempts::next(Some(looping.clone()), "/a", 160).is_loop(),
            "a minute later"
        );
        assert_eq!(
            looping.browser, attempts.browser,
            "the browser stays the same"
        );
        assert_eq!(Attempts::parse(looping.to_text().as_bytes()), Some(looping));
    }

    #[test]
    fn a_strange_cookie_is_no_cookie() {
        for value in [
            "",
            "a",
            "a.1.2.3",
            &format!("{}.1.2.3.4", SessionId::random().to_text()),
        ] {
            assert_eq!(Attempts::parse(value.as_bytes()), None, "{value}");
        }
        assert_eq!(Attempts::parse(&[0xff; 60]), None);
    }
}
