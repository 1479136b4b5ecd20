//! The recorded authentik servers that the stand-in can behave as.

/// Which recorded server the stand-in behaves as.
///
/// The two differ in the session-end event, the fields of several answers, the claims `jti` and
/// `scope`, the content type of the API, in `email_verified` and in the length of slugs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Dialect {
    /// authentik 2025.6.4.
    V2025_6,
    /// authentik 2026.2.2.
    #[default]
    V2026_2,
}

impl Dialect {
    /// The version the server reports of itself.
    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::V2025_6 => "2025.6.4",
            Self::V2026_2 => "2026.2.2",
        }
    }

    /// Longest slug of an application, in characters: `maxLength` in the schema of its API.
    pub(crate) fn max_slug_chars(self) -> Option<usize> {
        match self {
            Self::V2025_6 => Some(50),
            Self::V2026_2 => None,
        }
    }
}
