//! Slugs that authentik accepts for applications.

/// Slugs that authentik needs for its own URLs below `/application/o/`; it refuses applications
/// with them.
const RESERVED: [&str; 6] = [
    "authorize",
    "device",
    "introspect",
    "revoke",
    "token",
    "userinfo",
];

/// Longest slug that authentik before 2025.12 accepts, in characters.
///
/// Source: `ApplicationRequest.slug` in the schema of authentik's API, from which the package
/// `authentik-client` is generated for each release: `maxLength: 50` in 2025.6.4, 2025.8.6, 2025.10.0
/// and 2025.10.4; none in 2025.12.0, 2025.12.1, 2026.2.0, 2026.2.2 and 2026.8.5.
pub const MAX_CHARS: usize = 50;

/// The release of authentik from which on slugs have no maximum length.
const UNLIMITED_SINCE: (u16, u16) = (2025, 12);

/// Longest slug that this version of authentik accepts, in characters; `None` if there is no limit, or
/// the version is not understood: authentik then decides.
#[must_use]
pub fn max_chars(version: &str) -> Option<usize> {
    let mut parts = version.split('.').map(|part| part.parse().ok());
    let release = (parts.next()??, parts.next()??);
    (release < UNLIMITED_SINCE).then_some(MAX_CHARS)
}

/// Why authentik would refuse a slug. `max_chars` is its limit, if it has one.
pub(super) fn check(slug: &str, max_chars: Option<usize>) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if RESERVED.contains(&slug) {
        return Err(format!(
            "{slug:?} is reserved by authentik; choose another slug"
        ));
    }
    if !slug.chars().all(fits) {
        return Err(format!(
            "{slug:?} may have letters, digits, \"-\" and \"_\" only"
        ));
    }
    // Only ASCII is left.
    let chars = slug.len();
    match max_chars.filter(|max| chars > *max) {
        Some(max) => Err(format!(
            "{slug:?} has {chars} characters, and this version of authentik accepts {max}; choose a shorter slug, or update authentik to {}.{}",
            UNLIMITED_SINCE.0, UNLIMITED_SINCE.1
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_depends_on_the_version() {
        for (version, expected) in [
            ("2024.12.3", Some(MAX_CHARS)),
            ("2025.6.4", Some(MAX_CHARS)),
            ("2025.10.4", Some(MAX_CHARS)),
            ("2025.12.0", None),
            ("2025.12.0-rc1", None),
            ("2026.2.2", None),
            ("2026.5.0-rc1", None),
            ("2027.2", None),
            ("", None),
            ("2025", None),
            ("latest", None),
        ] {
            assert_eq!(max_chars(version), expected, "{version}");
        }
    }

    #[test]
    fn a_slug_of_the_longest_length_is_accepted() {
        for (chars, limit, accepted) in [
            (50, Some(MAX_CHARS), true),
            (51, Some(MAX_CHARS), false),
            (51, None, true),
            (253, None, true),
        ] {
            let found = check(&"s".repeat(chars), limit);
            assert_eq!(found.is_ok(), accepted, "{chars} {limit:?}: {found:?}");
        }
    }
}
