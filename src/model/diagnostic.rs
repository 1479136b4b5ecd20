//! What went wrong, why, and what to do about it: three values, never one text to be taken apart.

use std::borrow::Cow;
use std::fmt::{self, Display};

/// What an operator can do about an error.
pub type HintText = Cow<'static, str>;

/// An error that knows what to do about it. Its `Display` says the cause and nothing else.
pub trait Hint: Display {
    /// What to do, as an instruction without a full stop; `None` if there is nothing to advise.
    /// Never holds a secret.
    fn hint(&self) -> Option<HintText>;

    /// Cause and hint in one line, for where there is only one: a terminal, a header, a page.
    fn with_hint(&self) -> String {
        match self.hint() {
            Some(hint) => format!("{self}; {hint}"),
            None => self.to_string(),
        }
    }
}

/// An event with its cause and a hint, as an event of the log has them in its message and in its
/// fields `error` and `hint`. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Diagnostic {
    /// The event.
    pub what: String,
    /// Its cause, unless `what` says it.
    pub cause: Option<String>,
    /// What to do, if anything can be done.
    pub hint: Option<HintText>,
}

impl Diagnostic {
    /// An event without cause and hint.
    pub fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            cause: None,
            hint: None,
        }
    }

    /// An event that `error` caused, with its hint.
    pub fn caused_by(what: impl Into<String>, error: &impl Hint) -> Self {
        Self {
            what: what.into(),
            cause: Some(error.to_string()),
            hint: error.hint(),
        }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hinting(mut self, hint: impl Into<HintText>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl<T: Into<String>> From<T> for Diagnostic {
    fn from(what: T) -> Self {
        Self::new(what)
    }
}

/// The event and its cause, without the hint.
impl Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        match &self.cause {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}

impl Hint for Diagnostic {
    fn hint(&self) -> Option<HintText> {
        self.hint.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_is_apart_from_event_and_cause() {
        let cause = Diagnostic::new("it is; odd").hinting("mend it");
        let diagnostic = Diagnostic::caused_by("this cannot be used", &cause);
        assert_eq!(diagnostic.to_string(), "this cannot be used: it is; odd");
        assert_eq!(diagnostic.hint(), Some("mend it".into()));
        assert_eq!(
            diagnostic.with_hint(),
            "this cannot be used: it is; odd; mend it"
        );
        assert_eq!(
            Diagnostic::new("nothing to do").with_hint(),
            "nothing to do"
        );
    }
}
