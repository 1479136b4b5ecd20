//! Header values that are read from files, such as rotating tokens.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::HeaderValue;

use crate::model::HeaderSource;

/// A value that may change while it is used.
#[derive(Debug, Clone)]
pub enum LiveValue {
    /// A constant value.
    Fixed(HeaderValue),
    /// The content of a file; empty while it cannot be read, so that the client's header of that
    /// name is not passed on instead.
    File(Arc<ArcSwap<HeaderValue>>),
}

impl LiveValue {
    /// The current value.
    #[must_use]
    pub fn current(&self) -> HeaderValue {
        match self {
            Self::Fixed(value) => value.clone(),
            Self::File(value) => HeaderValue::clone(&value.load()),
        }
    }
}

/// All files with header values. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct HeaderFiles(Arc<HashMap<HeaderSource, Arc<ArcSwap<HeaderValue>>>>);

impl HeaderFiles {
    /// Reads the files among `sources`. One that cannot be read is logged and tried again.
    #[must_use]
    pub fn read<'a>(sources: impl Iterator<Item = &'a HeaderSource>) -> Self {
        Self::default().with(sources)
    }

    /// The same for other sources; those of both keep their value.
    #[must_use]
    pub fn with<'a>(&self, sources: impl Iterator<Item = &'a HeaderSource>) -> Self {
        let files = sources.filter_map(|source| match source {
            HeaderSource::Value(_) => None,
            HeaderSource::File { path, prefix } => {
                if let Some(known) = self.0.get(source) {
                    return Some((source.clone(), Arc::clone(known)));
                }
                let value = load(path, prefix).unwrap_or_else(|reason| {
                    tracing::warn!(
                        error = reason,
                        hint = "mount the file, or correct its path in applications.<slug>.headers",
                        "file of a header value cannot be used, the header is empty",
                    );
                    HeaderValue::from_static("")
                });
                Some((source.clone(), Arc::new(ArcSwap::from_pointee(value))))
            }
        });
        Self(Arc::new(files.collect()))
    }

    /// The value of a source; of a file only if it was read before.
    #[must_use]
    pub fn live(&self, source: &HeaderSource) -> LiveValue {
        match (source, self.0.get(source)) {
            (HeaderSource::Value(value), _) => LiveValue::Fixed(value.clone()),
            (HeaderSource::File { .. }, Some(value)) => LiveValue::File(Arc::clone(value)),
            (HeaderSource::File { .. }, None) => LiveValue::Fixed(HeaderValue::from_static("")),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads the files again. If a file cannot be read, the last value stays: the file is usually
    /// being replaced.
    pub fn refresh(&self) {
        for (source, value) in &*self.0 {
            if let HeaderSource::File { path, prefix } = source
                && let Ok(fresh) = load(path, prefix)
                && **value.load() != fresh
            {
                value.store(Arc::new(fresh));
                tracing::info!("{} changed and was read again", path.display());
            }
        }
    }
}

fn load(path: &Path, prefix: &str) -> Result<HeaderValue, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    let value = HeaderValue::try_from(format!("{prefix}{}", text.trim()));
    let mut value =
        value.map_err(|_| format!("{} does not hold a header value", path.display()))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_again_when_it_changes_and_kept_when_it_vanishes() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("token");
        let source = HeaderSource::File {
            path: path.clone(),
            prefix: "Bearer ".into(),
        };
        let files = HeaderFiles::read([&source].into_iter());
        let live = files.live(&source);
        assert_eq!(live.current(), "", "there is none yet");
        std::fs::write(&path, "one\n").expect("written");
        files.refresh();
        assert_eq!(live.current(), "Bearer one");
        std::fs::write(&path, "two").expect("written");
        files.refresh();
        assert_eq!(live.current(), "Bearer two");
        std::fs::remove_file(&path).expect("removed");
        files.refresh();
        assert_eq!(live.current(), "Bearer two");
        assert!(!format!("{live:?}").contains("two"));
    }
}
