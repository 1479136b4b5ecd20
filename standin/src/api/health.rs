//! The instances of an outpost that said hello lately.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use super::{ApiAnswer, no_match, outposts};
use crate::state::State;
use crate::state::health::HealthRecord;

/// An instance that has been silent for longer is gone.
const REMEMBERED: Duration = Duration::from_secs(15);

/// The health of an outpost's instances. A version that the real server cannot parse makes it
/// fail with 500, and so does this one.
pub(super) fn list(state: &State, id: &str) -> Result<ApiAnswer, StatusCode> {
    let Some(outpost) = outposts::find(state, id) else {
        return Ok(no_match("Outpost"));
    };
    let current = state
        .health
        .iter()
        .filter(|record| record.outpost == outpost.id && record.seen.elapsed() < REMEMBERED)
        .map(|record| wire(state, record))
        .collect::<Option<Vec<Value>>>()
        .ok_or(StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok((StatusCode::OK, Value::Array(current)))
}

fn wire(state: &State, record: &HealthRecord) -> Option<Value> {
    let args = &record.args;
    let text = |key: &str| args[key].as_str().unwrap_or_default();
    let version = args["version"].as_str();
    if version.is_some_and(|version| !is_version(version)) {
        return None;
    }
    let build = text("buildHash");
    Some(json!({
        "uid": record.instance,
        "last_seen": rfc3339_ago(record.seen.elapsed()),
        "version": version,
        "golang_version": text("golangVersion"),
        "openssl_enabled": args["opensslEnabled"].as_bool().unwrap_or_default(),
        "openssl_version": text("opensslVersion"),
        "fips_enabled": null,
        "version_should": state.version,
        // The server's own build hash is empty, as recorded.
        "version_outdated": !build.is_empty()
            || version.is_some_and(|version| version != state.version),
        "build_hash": build,
        "build_hash_should": "",
        "hostname": text("hostname"),
    }))
}

/// Whether this is numbers with dots, perhaps with a pre-release mark as in `2026.2.0rc1`.
fn is_version(text: &str) -> bool {
    let release = text
        .find(|c: char| c != '.' && !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (release, mark) = text.split_at(release);
    let mark = mark.trim_start_matches('-');
    let numbers = release.split('.').all(|part| !part.is_empty());
    numbers
        && (mark.is_empty()
            || ["rc", "a", "b"].iter().any(|kind| {
                mark.strip_prefix(kind)
                    .is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()))
            }))
}

/// The UTC time that long ago.
pub(super) fn rfc3339_ago(ago: Duration) -> String {
    let now = std::time::SystemTime::now() - ago;
    let since = now
        .duration_since(std::time::UNIX_EPOCH)
        .expect("the clock is past 1970");
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:06}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        since.subsec_micros()
    )
}

/// Year, month and day of a number of days since 1970 (Howard Hinnant's algorithm).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_the_server_cannot_parse() {
        assert!(
            ["2026.2.2", "0.1.0", "2026.5.0-rc1", "2026.2.0rc1"]
                .into_iter()
                .all(is_version)
        );
        assert!(
            !["rust-outpost/1.0", "2025.6.4-rust.1", ""]
                .into_iter()
                .any(is_version)
        );
    }

    #[test]
    fn days_become_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(20_781), (2026, 11, 24));
        assert_eq!(civil(19_782), (2024, 2, 29));
    }
}
