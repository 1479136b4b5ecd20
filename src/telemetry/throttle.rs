//! One line per cause and minute, however often the cause returns.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The same message is logged at most once in this time.
const REPEAT_INTERVAL: Duration = Duration::from_mins(1);

/// Messages that are remembered. Causes are few; what they name may vary.
const MAX_REMEMBERED: usize = 16;

/// Lets a message through if it is new or was let through a minute ago.
#[derive(Debug, Default)]
pub struct Throttle(Mutex<VecDeque<(Instant, String)>>);

impl Throttle {
    /// Whether `message` should be logged now.
    ///
    /// # Panics
    /// Never: nothing panics while the lock is held.
    pub fn should_log(&self, message: &str) -> bool {
        let mut recent = self
            .0
            .lock()
            .expect("nothing panics while holding this lock");
        let now = Instant::now();
        recent.retain(|(when, _)| now.duration_since(*when) < REPEAT_INTERVAL);
        let repeated = recent.iter().any(|(_, text)| text == message);
        if !repeated {
            if recent.len() == MAX_REMEMBERED {
                recent.pop_front();
            }
            recent.push_back((now, message.to_owned()));
        }
        !repeated
    }

    /// Forgets all messages: the error is over, and a new one is logged at once.
    ///
    /// # Panics
    /// Never: nothing panics while the lock is held.
    pub fn reset(&self) {
        self.0
            .lock()
            .expect("nothing panics while holding this lock")
            .clear();
    }
}

#[cfg(test)]
mod tests {
    use super::Throttle;

    #[test]
    fn repeats_are_held_back_and_news_is_not() {
        let throttle = Throttle::default();
        assert!(throttle.should_log("a") && !throttle.should_log("a") && throttle.should_log("b"));
        assert!(!throttle.should_log("a"), "also when causes take turns");
        throttle.reset();
        assert!(throttle.should_log("b"));
    }
}
