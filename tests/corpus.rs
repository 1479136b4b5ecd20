//! The checks of the fuzz targets, on their corpora and on random inputs: a short run on the
//! stable compiler of what `cargo fuzz` does for long.

#[path = "../fuzz/checks.rs"]
mod checks;

use std::path::Path;

use proptest::prelude::*;

/// Every input of a corpus.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(name);
    let files = std::fs::read_dir(directory).expect("a corpus");
    let read = |file: std::io::Result<std::fs::DirEntry>| {
        std::fs::read(file.expect("an entry").path()).expect("an input")
    };
    let inputs: Vec<_> = files.map(read).collect();
    assert!(!inputs.is_empty(), "{name} is empty");
    inputs
}

#[test]
fn the_corpora_hold() {
    for bytes in corpus("cookie") {
        checks::cookie(&bytes);
    }
    for bytes in corpus("sealed_cookie") {
        checks::sealed_cookie(&bytes);
    }
    for bytes in corpus("state") {
        checks::state(&String::from_utf8_lossy(&bytes));
    }
    for bytes in corpus("requested_url") {
        let text = String::from_utf8_lossy(&bytes);
        checks::requested_url(&text, "/x");
        checks::requested_url("a.test", &text);
    }
    for bytes in corpus("decision") {
        checks::decision(&String::from_utf8_lossy(&bytes));
    }
    for bytes in corpus("request_target") {
        checks::request_target(&String::from_utf8_lossy(&bytes));
    }
    for bytes in corpus("inbound") {
        checks::inbound(&bytes, &bytes, &bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn random_inputs_hold(
        bytes in proptest::collection::vec(any::<u8>(), 0..120),
        text in "\\PC{0,80}",
        host in "(https?://)?[a-z@\\[\\]:.0-9-]{0,30}",
        path in "(public|admin|[.%2efF5c;/\\\\]){0,12}",
        target in "(public|admin|%61|%25|%2[ef]|\\.\\.|[.%;/#+]){1,4}",
        times in 1..400_usize,
    ) {
        checks::cookie(&bytes);
        checks::sealed_cookie(&bytes);
        checks::state(&text);
        checks::requested_url(&host, &path);
        checks::requested_url(&text, &text);
        checks::decision(&path);
        checks::request_target(&format!("/{path}"));
        checks::request_target(&format!("/outpost.goauthentik.io/auth/envoy/{path}"));
        checks::request_target(&format!("/{}", target.repeat(times)));
        checks::inbound(&bytes, text.as_bytes(), host.as_bytes());
    }
}
