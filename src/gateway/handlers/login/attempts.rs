//! The login cookie: binds logins to a browser and detects login loops.

use aws_lc_rs::digest;

use crate::model::SessionId;

/// Weight of all starts towards one target within [`WINDOW_SECONDS`]. A browser that restores its tabs
/// starts several logins at once.
const MAX_WEIGHT: u8 = 10;
/// Weight of a start after a successful login, which should have made it needless.
const WEIGHT_AFTER_SIGN_IN: u8 = 3;
/// Time within which starts are counted together.
const WINDOW_SECONDS: i64 = 60;

/// The value of the login cookie. It needs no signature: users who change it affect themselves only,
/// and of several cookies the one that counts least is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LoginAttempts {
    /// A secret of this browser; its hash is in the login state. Parallel tabs share it.
    pub(super) browser: SessionId,
    weight: u8,
    since: i64,
    target: u32,
    signed_in: bool,
    /// Starts that followed a successful login.
    repeats: u8,
}

impl LoginAttempts {
    /// Counts one more start of this browser towards `target`. Of several cookies the one that
    /// counts least is taken: another host of the domain may have set the others, and must not be
    /// able to keep users from signing in.
    pub(super) fn next(sent: impl Iterator<Item = Self>, target: &str, now: i64) -> Self {
        let target = fingerprint(target);
        let counts = |sent: &Self| {
            sent.target == target && (0..WINDOW_SECONDS).contains(&(now.saturating_sub(sent.since)))
        };
        let sent = sent.min_by_key(|sent| (!counts(sent), sent.weight));
        match sent {
            Some(sent) if counts(&sent) => {
                let (more, repeat) = if sent.signed_in {
                    (WEIGHT_AFTER_SIGN_IN, 1)
                } else {
                    (1, 0)
                };
                Self {
                    weight: sent.weight.saturating_add(more),
                    signed_in: false,
                    repeats: sent.repeats.saturating_add(repeat),
                    ..sent
                }
            }
            sent => {
                let browser = sent.map_or_else(SessionId::random, |sent| sent.browser);
                Self {
                    browser,
                    weight: 1,
                    since: now,
                    target,
                    signed_in: false,
                    repeats: 0,
                }
            }
        }
    }

    /// Notes that the login succeeded.
    pub(super) fn succeeded(self) -> Self {
        Self {
            signed_in: true,
            ..self
        }
    }

    /// The same browser, nothing counted.
    pub(super) fn reset(self) -> Self {
        Self {
            weight: 0,
            repeats: 0,
            ..self
        }
    }

    /// Starts towards `target` that followed a successful login within [`WINDOW_SECONDS`].
    pub(super) fn repeats_towards(&self, target: &str) -> u8 {
        if self.target == fingerprint(target) {
            self.repeats
        } else {
            0
        }
    }

    /// Whether the browser keeps starting logins for the same page without a session.
    pub(super) fn is_loop(&self) -> bool {
        self.weight > MAX_WEIGHT
    }

    /// Reads the cookie's value.
    pub(super) fn parse(value: &[u8]) -> Option<Self> {
        let mut fields = std::str::from_utf8(value).ok()?.split('.');
        let browser = SessionId::parse(fields.next()?.as_bytes())?;
        let weight = fields.next()?.parse().ok()?;
        let since = fields.next()?.parse().ok()?;
        let target = fields.next()?.parse().ok()?;
        let progress: u16 = fields.next()?.parse().ok()?;
        let attempts = Self {
            browser,
            weight,
            since,
            target,
            signed_in: progress % 2 == 1,
            repeats: u8::try_from(progress / 2).ok()?,
        };
        fields.next().is_none().then_some(attempts)
    }

    /// The cookie's value. The last number is twice the repeats, plus one once the login succeeded.
    pub(super) fn to_text(&self) -> String {
        format!(
            "{}.{}.{}.{}.{}",
            self.browser.to_text(),
            self.weight,
            self.since,
            self.target,
            2 * u16::from(self.repeats) + u16::from(self.signed_in)
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

    /// Starts `count` logins towards `/a`, each after what `between` does.
    fn starts(count: usize, between: fn(LoginAttempts) -> LoginAttempts) -> LoginAttempts {
        let first = LoginAttempts::next([].into_iter(), "/a", 100);
        (1..count).fold(first, |sent, _| {
            LoginAttempts::next([between(sent)].into_iter(), "/a", 110)
        })
    }

    #[test]
    fn counts_starts_towards_one_target_within_a_minute() {
        assert!(!starts(10, |sent| sent).is_loop(), "restored tabs");
        assert!(starts(11, |sent| sent).is_loop());
        assert!(!starts(4, LoginAttempts::succeeded).is_loop());
        let looping = starts(5, LoginAttempts::succeeded);
        assert!(looping.is_loop());
        let next = |target, now| LoginAttempts::next([looping.clone()].into_iter(), target, now);
        assert!(!next("/b", 120).is_loop(), "another page");
        assert!(!next("/a", 160).is_loop(), "a minute later");
        assert_eq!(next("/b", 120).browser, looping.browser);
        let reset = looping.clone().reset();
        assert!(!LoginAttempts::next([reset].into_iter(), "/a", 120).is_loop());
        for attempts in [looping.clone(), looping.succeeded()] {
            assert_eq!(
                LoginAttempts::parse(attempts.to_text().as_bytes()),
                Some(attempts)
            );
        }
    }

    #[test]
    fn counts_starts_that_follow_a_successful_login() {
        assert_eq!(starts(10, |sent| sent).repeats_towards("/a"), 0);
        for count in 1..=4 {
            let attempts = starts(count, LoginAttempts::succeeded);
            let repeats = u8::try_from(count - 1).expect("few");
            assert_eq!(attempts.repeats_towards("/a"), repeats);
            assert_eq!(attempts.repeats_towards("/b"), 0);
            let succeeded = attempts.succeeded();
            assert_eq!(succeeded.repeats_towards("/a"), repeats, "at the callback");
            let later = LoginAttempts::next([succeeded.clone()].into_iter(), "/a", 160);
            assert_eq!(later.repeats_towards("/a"), 0, "a minute later");
            assert_eq!(succeeded.reset().repeats_towards("/a"), 0);
        }
    }

    /// Another host of the domain says that this browser goes in circles.
    #[test]
    fn ap_2026_05_a_cookie_of_another_host_makes_no_loop() {
        let tossed = starts(200, |sent| sent);
        assert!(tossed.is_loop());
        let own = starts(1, |sent| sent);
        for sent in [[tossed.clone(), own.clone()], [own.clone(), tossed]] {
            let next = LoginAttempts::next(sent.into_iter(), "/a", 120);
            assert!(!next.is_loop());
            assert_eq!(next.browser, own.browser);
        }
        // Loops are found all the same, whatever else is there.
        let other = LoginAttempts::next([].into_iter(), "/b", 100);
        let looping = starts(11, |sent| sent);
        for sent in [[looping.clone(), other.clone()], [other, looping]] {
            assert!(LoginAttempts::next(sent.into_iter(), "/a", 120).is_loop());
        }
    }

    #[test]
    fn a_strange_cookie_is_no_cookie() {
        for value in [
            "",
            "a",
            "a.1.2.3.1",
            &format!("{}.1.2.3.512", SessionId::random().to_text()),
            &format!("{}.1.2.3.x", SessionId::random().to_text()),
            &format!("{}.1.2.3.1.4", SessionId::random().to_text()),
        ] {
            assert_eq!(LoginAttempts::parse(value.as_bytes()), None, "{value}");
        }
        assert_eq!(LoginAttempts::parse(&[0xff; 60]), None);
    }
}
