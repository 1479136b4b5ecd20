//! Chains of servers, each of which takes some steps, and the bounds of what is read.

use std::sync::LazyLock;

use percent_encoding::percent_decode;
use proptest::prelude::*;

use super::servers::{denies, policy};
use super::{MAX_BYTES, MAX_PATH, MAX_READINGS, Readings, Spellings, eager, unambiguous};
use crate::model::{Action, Policy, RuleDecision};

/// Steps that servers take, as the table shows them.
pub(crate) const STEPS: [fn(&str) -> String; 9] = [
    decode_once,
    decode_all_but_slashes,
    merge_slashes,
    resolve_dots,
    turn_backslashes,
    drop_parameters,
    end_at_question_or_hash,
    drop_authority,
    urldecode,
];

fn decode_once(path: &str) -> String {
    let bytes: Vec<u8> = percent_decode(path.as_bytes()).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn decode_all_but_slashes(path: &str) -> String {
    decode_once(&path.replace("%2f", "%252f").replace("%2F", "%252F"))
}

fn merge_slashes(path: &str) -> String {
    let mut path = path.to_owned();
    while path.contains("//") {
        path = path.replace("//", "/");
    }
    path
}

/// RFC 3986 section 5.2.4, as `path.Clean`, `new URL` and nginx do it.
fn resolve_dots(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    let mut parts = path.split('/').skip(1).peekable();
    while let Some(segment) = parts.next() {
        let last = parts.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    segments.pop();
                }
                if last {
                    segments.push("");
                }
            }
            name => segments.push(name),
        }
    }
    format!("/{}", segments.join("/"))
}

fn turn_backslashes(path: &str) -> String {
    path.replace('\\', "/")
}

fn drop_parameters(path: &str) -> String {
    let names = path
        .split('/')
        .map(|name| name.split(';').next().unwrap_or_default());
    names.collect::<Vec<_>>().join("/")
}

fn end_at_question_or_hash(path: &str) -> String {
    path.split(['?', '#']).next().unwrap_or_default().to_owned()
}

fn drop_authority(path: &str) -> String {
    let Some(rest) = path.strip_prefix("//") else {
        return path.to_owned();
    };
    let rest = rest.trim_start_matches('/');
    rest.find('/')
        .map_or("/", |start| &rest[start..])
        .to_owned()
}

fn urldecode(path: &str) -> String {
    decode_once(&path.replace('+', " "))
}

/// Paths full of what servers read in different ways.
pub(crate) fn paths() -> impl Strategy<Value = String> {
    let piece = proptest::sample::select(vec![
        "admin",
        "%61dmin",
        "Admin",
        "%2561dmin",
        "public",
        "a",
        "x",
        "..",
        ".",
        "%2e%2e",
        "%2E",
        "%252e%252e",
        "%2f",
        "%2F",
        "%252f",
        "%5c",
        "\\",
        ";",
        "%3b",
        ";v=1",
        "/",
        "//",
        "%3f",
        "%23",
        "#",
        "%00",
        "%0a",
        "%ff",
        "%c3%a4",
        "%20",
        "%25",
        "%",
        "%zz",
        "%u002f",
        "+",
        "...",
        "index.php",
        "(S(x))",
        "\u{e4}",
    ]);
    let pieces = proptest::collection::vec((piece, any::<bool>()), 0..6);
    pieces.prop_map(|pieces| {
        let add = |path: String, (piece, slash): (&str, bool)| {
            let slash = if slash { "/" } else { "" };
            format!("{path}{piece}{slash}")
        };
        pieces.into_iter().fold("/".to_owned(), add)
    })
}

static DENYING: LazyLock<Policy> = LazyLock::new(|| policy(&[("^/admin(/|$)", Action::Deny)]));
static OPENING: LazyLock<Policy> = LazyLock::new(|| policy(&[("^/public(/|$)", Action::Allow)]));

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8192))]

    /// Whatever a chain of servers makes of a path, step by step: what a rule restricts there is
    /// restricted, and what a rule opens is open there as well.
    #[test]
    fn ap_2026_03_no_chain_of_servers_reads_more_than_we_do(
        path in paths(),
        steps in proptest::collection::vec(0..STEPS.len(), 0..7),
    ) {
        let denied = denies(&DENYING, &path);
        let opened = matches!(OPENING.evaluate(&path, None, None), Some(RuleDecision::Allow(_)));
        let mut reading = path.clone();
        for step in steps {
            reading = STEPS[step](&reading);
            if reading == "/admin" || reading.starts_with("/admin/") {
                prop_assert!(denied, "{} is {}", path, reading);
            }
            if opened {
                prop_assert!(reading.starts_with("/public"), "{} is {}", path, reading);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// The bounds hold for whatever is sent, and every reading counts.
    #[test]
    fn ap_2026_04_readings_are_bounded(path in paths(), times in 1..600_usize) {
        for path in [path.clone(), path.repeat(times)] {
            bounded(&path);
        }
    }
}

/// The work that a path makes: all that is ever matched or compared.
fn bounded(path: &str) {
    let readings = Readings::of(path);
    if let Readings::One(same) = &readings {
        assert_eq!(*same, path);
    }
    let Some(all) = readings.known() else { return };
    let all: Vec<_> = all.collect();
    assert!(path.len() <= MAX_PATH);
    assert!(all.contains(&path), "{path} in {all:?}");
    assert!(all.len() <= MAX_READINGS, "{all:?}");
    assert!(all.iter().map(|reading| reading.len()).sum::<usize>() <= MAX_BYTES);
    for reading in all {
        let spellings = Spellings::of(reading);
        assert!(spellings.len() <= 4);
        assert!(spellings.bytes() <= 4 * reading.len());
    }
}

#[test]
fn ap_2026_04_a_path_that_needs_many_rounds_is_read_in_none() {
    let nested = format!("/%{}41", "25".repeat(30_000));
    assert_eq!(Readings::of(&nested), Readings::Unknown);
    assert!(unambiguous(&nested).is_none());
    // Each round takes one `25`.
    assert_eq!(nested.len() - eager(&nested).len(), 3 * "25".len());
    for piece in [
        "%2525", "/", "%2f", ";", "%61", "%c3%a4", "/..", "a.", "+", "\\", "%3f", "x.php/",
    ] {
        for length in [10, 1_000, MAX_PATH, 60_000] {
            bounded(&format!("/{}", piece.repeat(length / piece.len())));
        }
    }
}
