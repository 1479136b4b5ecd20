//! Texts that many sessions have in common, kept once.

use std::hash::Hash;
use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use quick_cache::sync::Cache;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Values of a kind that are remembered. Further ones have memory of their own.
const MAX_SHARED: usize = 1024;

type Known<T> = LazyLock<Cache<Arc<T>, Arc<T>>>;

fn share<T: ?Sized + Hash + Eq>(known: &Cache<Arc<T>, Arc<T>>, value: Arc<T>) -> Arc<T> {
    if let Some(shared) = known.get(&value) {
        return shared;
    }
    known.insert(Arc::clone(&value), Arc::clone(&value));
    value
}

/// A text in the memory of all equal ones.
pub(super) fn text(text: &str) -> Arc<str> {
    static KNOWN: Known<str> = LazyLock::new(|| Cache::new(MAX_SHARED));
    share(&KNOWN, text.into())
}

/// Names of groups or entitlements, in the memory of all equal lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names(Arc<[String]>);

impl Deref for Names {
    type Target = [String];

    fn deref(&self) -> &[String] {
        &self.0
    }
}

impl From<Vec<String>> for Names {
    fn from(names: Vec<String>) -> Self {
        static KNOWN: Known<[String]> = LazyLock::new(|| Cache::new(MAX_SHARED));
        if names.is_empty() {
            return Self::default();
        }
        let exact = names
            .into_iter()
            .map(|name| name.into_boxed_str().into_string());
        Self(share(&KNOWN, exact.collect()))
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self::from)
    }
}

impl Serialize for Names {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_have_the_same_memory() {
        assert!(Arc::ptr_eq(&text("client-a"), &text("client-a")));
        assert_eq!(&*text("client-b"), "client-b");
        let names =
            |names: &[&str]| Names::from(names.iter().map(ToString::to_string).collect::<Vec<_>>());
        let (one, same, other) = (names(&["a", "b"]), names(&["a", "b"]), names(&["a"]));
        assert!(Arc::ptr_eq(&one.0, &same.0) && one != other);
        assert_eq!(&*other, ["a"]);
        for number in 0..3 * MAX_SHARED {
            let number = number.to_string();
            assert_eq!(*text(&number), number, "right also when it is one too many");
        }
    }
}
