//! The tree is the architecture: who may use whom, how long a file may be, who may print.
//! `docs/ARCHITECTURE.md` has the reasons.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What each top-level module may use of ours. A module that is not here is not allowed at all:
/// decide where it belongs.
const ALLOWED: &[(&str, &str)] = &[
    ("model", ""),
    ("clock", ""),
    ("tasks", ""),
    ("config", "model"),
    ("telemetry", "model config clock"),
    ("web", "model config clock telemetry"),
    ("store", "model config clock telemetry"),
    ("oidc", "model clock web"),
    ("tls", "model config"),
    (
        "route",
        "model clock tasks config telemetry web store oidc tls",
    ),
    ("server", "model telemetry web"),
    ("upstream", "model telemetry web"),
    (
        "gateway",
        "model clock tasks config telemetry web store oidc tls route server upstream",
    ),
    ("control", BELOW_PLANES),
    ("admin", BELOW_PLANES),
    ("doctor", EVERYTHING),
    ("discover", "model config telemetry web"),
    ("app", EVERYTHING),
    ("cli", EVERYTHING),
    ("main", EVERYTHING),
    ("lib", ""),
];

const BELOW_PLANES: &str = "model clock tasks config telemetry web store oidc tls route";
const EVERYTHING: &str = "model clock tasks config telemetry web store oidc tls route server \
    upstream gateway control admin discover doctor app cli";

/// Single names that are allowed beyond that: the planes say whether they can serve.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("gateway", "admin::Readiness"),
    ("control", "admin::Readiness"),
];

/// The longest file, in lines.
const LONGEST: usize = 450;

/// Files that write to standard output or standard error by themselves.
const MAY_PRINT: &[&str] = &["src/main.rs", "src/cli/mod.rs", "src/doctor"];

/// The only file that makes requests for applications of clients' requests.
const MAY_PROXY: &str = "src/gateway/handlers/proxy.rs";

/// The only file that reads the environment.
const MAY_READ_ENVIRONMENT: &str = "src/config/env.rs";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files below a directory, with their text; names begin at the root.
fn sources(directory: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut directories = vec![root().join(directory)];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).expect("a directory") {
            let path: PathBuf = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("text");
                let name = path.strip_prefix(root()).expect("below the root");
                found.push((name.to_str().expect("text").to_owned(), text));
            }
        }
    }
    assert!(!found.is_empty(), "{directory} has no sources");
    found
}

/// Sources of the program itself: without comments, and without what is only for tests.
fn product() -> Vec<(String, String)> {
    let sources = sources("src");
    let tests: Vec<String> = sources
        .iter()
        .flat_map(|(name, text)| test_modules(name, text))
        .collect();
    let product = sources.into_iter().filter(|(name, _)| {
        !tests.iter().any(|test| name.starts_with(test)) && !name.ends_with("tests.rs")
    });
    product.map(|(name, text)| (name, code(&text))).collect()
}

/// How the names of files begin that a file declares as modules for tests.
fn test_modules(name: &str, text: &str) -> Vec<String> {
    let directory = name.strip_suffix(".rs").expect("a source");
    let directory = ["/mod", "/lib", "/main"]
        .iter()
        .find_map(|own| directory.strip_suffix(own))
        .unwrap_or(directory);
    let declared = text.split("#[cfg(test)]\n").skip(1);
    declared
        .filter_map(|rest| {
            let item = rest.lines().next()?.strip_suffix(';')?;
            item.split_once("mod ").map(|(_, module)| module)
        })
        .flat_map(|module| ["/", ".rs"].map(|end| format!("{directory}/{module}{end}")))
        .collect()
}

/// The code of a file. Relies on the format that `rustfmt` gives.
fn code(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line == "#[cfg(test)]" {
            // Further attributes, then the item: up to its brace in the first column, if it has one.
            let item = lines.by_ref().find(|line| !line.starts_with("#["));
            if item.is_some_and(|item| item.ends_with('{')) {
                lines.by_ref().find(|line| *line == "}");
            }
        } else if !line.trim_start().starts_with("//") {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// The top-level module of a file, and how deep the file's own module lies.
fn module(name: &str) -> (&str, usize) {
    let path = name.strip_prefix("src/").expect("a source");
    let path = path.strip_suffix(".rs").expect("a source");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    (
        path.split('/').next().unwrap_or_default(),
        path.split('/').count(),
    )
}

/// The first two names of every path that begins at the crate's root, such as `store::Store`.
fn used(code: &str, depth: usize) -> BTreeSet<String> {
    let climb = "super::".repeat(depth);
    let mut found = BTreeSet::new();
    for start in ["crate::", "authentik_proxy::", climb.as_str()] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            // The quotation mark is that of a log target.
            if before.is_none_or(|c| !c.is_alphanumeric() && !"_:\"".contains(c)) {
                heads(&code[at + start.len()..], &mut found);
            }
        }
    }
    found
}

/// What follows the root: one path, or several in braces.
fn heads(rest: &str, found: &mut BTreeSet<String>) {
    let Some(group) = rest.strip_prefix('{') else {
        found.insert(head(rest));
        return;
    };
    let (mut open, mut start) = (0_usize, true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => open += 1,
            '}' if open == 0 => return,
            '}' => open -= 1,
            ',' if open == 0 => start = true,
            _ if start && !c.is_whitespace() => {
                start = false;
                found.insert(head(&group[at..]));
            }
            _ => {}
        }
    }
}

fn head(path: &str) -> String {
    let end = path.find(|c: char| !c.is_alphanumeric() && !"_:".contains(c));
    let path = path[..end.unwrap_or(path.len())].trim_end_matches(':');
    path.split("::").take(2).collect::<Vec<_>>().join("::")
}

/// What a file uses and must not.
fn forbidden(name: &str, code: &str) -> Vec<String> {
    let allowed: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
    let (own, depth) = module(name);
    let allowed = allowed
        .get(own)
        .unwrap_or_else(|| panic!("{name}: no rule says what {own} may use"));
    let mut wrong = used(code, depth);
    wrong.retain(|path| {
        let top = path.split("::").next().unwrap_or_default();
        top != own
            && !allowed.split_whitespace().any(|name| name == top)
            && !EXCEPTIONS.contains(&(own, path))
    });
    wrong
        .into_iter()
        .map(|path| format!("{name} uses {path}"))
        .collect()
}

#[test]
fn modules_use_only_what_lies_below_them() {
    let product = product();
    let wrong = product
        .iter()
        .flat_map(|(name, code)| forbidden(name, code));
    assert_eq!(wrong.collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn the_planes_never_use_each_other() {
    // Whatever the table above will say one day.
    for (name, code) in product() {
        let (own, depth) = module(&name);
        let other = match own {
            "gateway" => "control",
            "control" => "gateway",
            _ => continue,
        };
        for path in used(&code, depth) {
            assert_ne!(path.split("::").next(), Some(other), "{name} uses {path}");
        }
    }
}

#[test]
fn only_a_permit_sends_requests_to_applications() {
    // `pass_on` takes a `Permit`, and the doctor's probe is no client's request.
    for (name, code) in product() {
        let proxies = code.contains("ProxyRequest {") || code.contains("ProxyRequest<");
        let allowed = name.starts_with("src/upstream/") || name == MAY_PROXY;
        assert!(allowed || !proxies, "{name}");
    }
}

#[test]
fn every_exception_is_needed() {
    let mut unused = EXCEPTIONS.to_vec();
    for (name, code) in product() {
        let (own, depth) = module(&name);
        let used = used(&code, depth);
        unused.retain(|&(module, path)| module != own || !used.contains(path));
    }
    assert_eq!(unused, []);
}

#[test]
fn what_is_forbidden_is_seen_however_it_is_written() {
    for (name, text, expected) in [
        (
            "src/gateway/mod.rs",
            "use crate::control::Control;",
            "control::Control",
        ),
        (
            "src/gateway/auth/session.rs",
            "    let x = crate::control::run();",
            "control::run",
        ),
        (
            "src/gateway/auth/session.rs",
            "use super::super::super::control;",
            "control",
        ),
        (
            "src/gateway/mod.rs",
            "use super::control::api;",
            "control::api",
        ),
        (
            "src/control/mod.rs",
            "use crate::{\n    model::{A, B},\n    gateway::Gateway,\n};",
            "gateway::Gateway",
        ),
        (
            "src/gateway/mod.rs",
            "use crate::admin::{Readiness, router};",
            "admin",
        ),
        (
            "src/model/mod.rs",
            "use crate::web::page::Page;",
            "web::page",
        ),
        (
            "src/web/client/mod.rs",
            "use crate::store::Store;",
            "store::Store",
        ),
    ] {
        assert_eq!(
            forbidden(name, &code(text)),
            [format!("{name} uses {expected}")],
            "{text}"
        );
    }
    for (name, text) in [
        (
            "src/gateway/mod.rs",
            "use crate::admin::Readiness;\nuse crate::model::{A, B};",
        ),
        (
            "src/gateway/handlers/login/mod.rs",
            "use super::super::super::gateway::auth;",
        ),
        (
            "src/control/mod.rs",
            "//! See crate::gateway.\n#[cfg(test)]\nmod tests {\n    use crate::gateway;\n}",
        ),
        (
            "src/control/mod.rs",
            "#[cfg(test)]\n#[path = \"x.rs\"]\nmod tests;\nuse crate::model::A;",
        ),
        (
            "src/app.rs",
            "use crate::control::Control;\nuse crate::gateway::Gateway;",
        ),
    ] {
        assert_eq!(forbidden(name, &code(text)), [""; 0], "{text}");
    }
    let hidden = "#[cfg(test)]\nmod tests {\n    use crate::web;\n}\nuse crate::gateway::Gateway;";
    assert_eq!(forbidden("src/control/mod.rs", &code(hidden)).len(), 1);
    for (name, expected) in [
        ("src/lib.rs", ["src/replay/", "src/replay.rs"]),
        (
            "src/oidc/mod.rs",
            ["src/oidc/replay/", "src/oidc/replay.rs"],
        ),
        (
            "src/oidc/client.rs",
            ["src/oidc/client/replay/", "src/oidc/client/replay.rs"],
        ),
    ] {
        let text =
            "#[cfg(test)]\npub(crate) mod replay;\nmod other;\n#[cfg(test)]\nmod tests {\n}\n";
        assert_eq!(test_modules(name, text), expected);
    }
}

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
