//! Suggestions for misspelled names. clap has one for the command line, which it does not export.

use crate::model::HintText;

/// The candidate that is nearest to `name`, at most `limit` edits away.
pub(super) fn nearest<T: AsRef<str>>(
    name: &str,
    candidates: impl IntoIterator<Item = T>,
    limit: usize,
) -> Option<T> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(name, candidate.as_ref()), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The hint that suggests a name, if there is one.
pub(super) fn did_you_mean(candidate: Option<impl AsRef<str>>) -> Option<HintText> {
    candidate.map(|name| format!("did you mean {}?", name.as_ref()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_within_the_limit_is_meant() {
        let names = ["listen.http", "listen.https"];
        assert_eq!(nearest("listen.htpt", names, 2), Some("listen.http"));
        assert_eq!(nearest("listen.htps", names, 2), Some("listen.https"));
        assert_eq!(nearest("session", names, 2), None);
    }
}
