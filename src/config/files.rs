//! The files that a configuration was read from, and whether they changed since.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// The name of the configuration file among the sources.
pub(super) const CONFIG_FILE: &str = "config";

/// Differs in each process, so that a digest tells nothing about a secret.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// A file that a configuration was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// What it is read for: `config`, or the key of the setting whose value it has.
    pub source: &'static str,
    /// Its path as configured.
    pub path: PathBuf,
    /// Its content when it was read.
    pub content: Fingerprint,
    /// Whether the configuration cannot be used because of it.
    pub failed: bool,
}

impl SourceFile {
    /// A file that is read elsewhere, with its content as of now.
    #[must_use]
    pub fn new(source: &'static str, path: PathBuf) -> Self {
        let content = Fingerprint::of(&path);
        Self {
            source,
            path,
            content,
            failed: false,
        }
    }

    /// The content of `files` as of now, if it is another one. Blocks.
    #[must_use]
    pub fn other_content(files: &[Self]) -> Option<Vec<Fingerprint>> {
        let seen: Vec<_> = files.iter().map(|it| Fingerprint::of(&it.path)).collect();
        let is_known = files.iter().map(|it| it.content).eq(seen.iter().copied());
        (!is_known).then_some(seen)
    }

    /// Whether it is this file, read for this.
    #[must_use]
    pub fn is(&self, source: &str, path: &Path) -> bool {
        self.source == source && self.path == path
    }
}

/// What tells one content of a file from another. The name of a file is followed each time, so that
/// a replaced symbolic link counts as a change of content.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fingerprint {
    /// It has this content.
    Content(u64),
    /// It cannot be read.
    Unreadable(io::ErrorKind),
    /// It is a pipe or a device, which is read once.
    Stream,
}

impl Fingerprint {
    /// The content of a file as of now.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        read(path, true).1
    }
}

/// Without the digest.
impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Content(_) => f.write_str("Content"),
            Self::Unreadable(kind) => write!(f, "Unreadable({kind})"),
            Self::Stream => f.write_str("Stream"),
        }
    }
}

/// Reads a file. What is read `again` must be a regular file: a pipe would block, or be empty.
pub(super) fn read(path: &Path, again: bool) -> (io::Result<String>, Fingerprint) {
    let is_stream = std::fs::metadata(path).is_ok_and(|data| !data.is_file() && !data.is_dir());
    if is_stream && again {
        let refused = io::Error::other("it is not a regular file, which alone can be read again");
        return (Err(refused), Fingerprint::Stream);
    }
    match std::fs::read(path) {
        Err(error) => {
            let kind = error.kind();
            (Err(error), Fingerprint::Unreadable(kind))
        }
        Ok(bytes) => {
            let fingerprint = if is_stream {
                Fingerprint::Stream
            } else {
                Fingerprint::Content(digest(&bytes))
            };
            let text = String::from_utf8(bytes)
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"));
            (text, fingerprint)
        }
    }
}

/// A digest that is of use in this process only.
pub(super) fn digest(bytes: &[u8]) -> u64 {
    HASHER.hash_one(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_replaced_link_and_a_changed_content_are_changes() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        let (link, path) = (at("..data"), at("..data/token"));
        assert_eq!(
            Fingerprint::of(&path),
            Fingerprint::Unreadable(io::ErrorKind::NotFound)
        );
        for (version, content) in [("1", "one"), ("2", "two"), ("3", "two")] {
            std::fs::create_dir(at(version)).expect("made");
            std::fs::write(at(version).join("token"), content).expect("written");
        }
        let shown = |version: &str| {
            let _ = std::fs::remove_file(&link);
            symlink(version, &link).expect("linked");
            Fingerprint::of(&path)
        };
        let (one, two, same) = (shown("1"), shown("2"), shown("3"));
        assert_ne!(one, two);
        assert_eq!(two, same);
        std::fs::write(&path, "in place").expect("written");
        assert_ne!(Fingerprint::of(&path), same);
        assert!(!format!("{same:?}").contains(|c: char| c.is_ascii_digit()));
    }

    #[test]
    fn a_device_is_read_once() {
        let device = Path::new("/dev/null");
        let (first, fingerprint) = read(device, false);
        assert_eq!(first.expect("read"), "");
        assert_eq!(fingerprint, Fingerprint::Stream);
        assert!(read(device, true).0.is_err());
        assert_eq!(Fingerprint::of(device), Fingerprint::Stream);
    }
}
