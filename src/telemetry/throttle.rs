//! One line per cause and minute, however often the cause returns.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long the same message is held back.
const QUIET: Duration = Duration::from_mins(1);

/// Lets a message through if it is new or the last one of its kind is a minute old.
#[derive(Debug, Default)]
pub struct Throttle(Mutex<Option<(Instant, String)>>);

impl Throttle {
    /// Whether `message` should be logged now.
    ///
    /// # Panics
    /// Never: nothing panics while the lock is held.
    pub fn admits(&self, message: &str) -> bool {
        let mut last = self
            .0
            .lock()
            .expect("nothing panics while holding this lock");
        let now = Instant::now();
        let repeated = last
            .as_ref()
            .is_some_and(|(when, text)| text == message && now.duration_since(*when) < QUIET);
        if !repeated {
            *last = Some((now, message.to_owned()));
        }
        !repeated
    }

    /// Forgets the last message: the trouble is over and its return would be news.
    ///
    /// # Panics
    /// Never: nothing panics while the lock is held.
    pub fn reset(&self) {
        *self
            .0
            .lock()
            .expect("nothing panics while holding this lock") = None;
    }
}

#[cfg(test)]
mod tests {
    use super::Throttle;

    #[test]
    fn repeats_are_held_back_and_news_is_not() {
        let throttle = Throttle::default();
        assert!(throttle.admits("a") && !throttle.admits("a") && throttle.admits("b"));
        throttle.reset();
        assert!(throttle.admits("b"));
    }
}
