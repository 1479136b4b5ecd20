//! The tree is the architecture: who may use whom, how long a file may be, who may print.
//! `docs/ARCHITECTURE.md` has the reasons.

mod circles;
mod imports;
mod layers;
mod paths;
mod sources;

use sources::{product, sources};

/// The longest file, in lines.
const LONGEST: usize = 450;

/// The most files of a folder, besides `mod.rs` and tests.
const MOST_FILES: usize = 12;

/// Files that write to standard output or standard error by themselves.
const MAY_PRINT: &[&str] = &[
    "src/main.rs",
    "src/cli/mod.rs",
    "src/doctor",
    "src/telemetry/log/",
];

/// The only file that makes requests for applications of clients' requests.
const MAY_PROXY: &str = "src/gateway/handlers/proxy.rs";

/// The only file that reads the environment.
const MAY_READ_ENVIRONMENT: &str = "src/config/layers/env.rs";

#[test]
fn files_are_short_enough_to_be_read() {
    for directory in ["src", "demo", "standin", "tests", "benches"] {
        for (name, text) in sources(directory) {
            let lines = text.lines().count();
            assert!(lines <= LONGEST, "{name} has {lines} lines");
        }
    }
}

#[test]
fn folders_have_rooms_when_they_grow() {
    let mut folders = std::collections::BTreeMap::<_, usize>::new();
    for (name, _) in sources("src") {
        let (folder, file) = name.rsplit_once('/').expect("a file in src");
        if file != "mod.rs" && !file.ends_with("tests.rs") {
            *folders.entry(folder.to_owned()).or_default() += 1;
        }
    }
    folders.retain(|_, files| *files > MOST_FILES);
    assert_eq!(folders, std::collections::BTreeMap::new());
}

#[test]
fn only_the_program_itself_prints() {
    let prints = [
        "print!(",
        "println!(",
        "eprint!(",
        "eprintln!(",
        "dbg!(",
        "stdout()",
        "stderr()",
    ];
    for (name, code) in product() {
        if MAY_PRINT.iter().any(|allowed| name.starts_with(allowed)) {
            continue;
        }
        let found = prints.iter().find(|print| code.contains(**print));
        assert_eq!(found, None, "{name}");
    }
}

#[test]
fn one_file_reads_the_environment() {
    for (name, code) in product() {
        let reads = code.contains("env::var");
        assert_eq!(reads, name == MAY_READ_ENVIRONMENT, "{name}");
    }
}

#[test]
fn only_a_permit_sends_requests_to_applications() {
    // `pass_on` takes a `Permit`, and the doctor's probe is no client's request.
    let mut calls = 0;
    for (name, code) in product() {
        let proxies = code.contains("ProxyRequest {") || code.contains("ProxyRequest<");
        let allowed = name.starts_with("src/upstream/") || name == MAY_PROXY;
        assert!(allowed || !proxies, "{name}");
        calls += code.matches("upstream.proxy(").count();
    }
    assert_eq!(calls, 1, "pass_on is the only caller of Upstream::proxy");
}
