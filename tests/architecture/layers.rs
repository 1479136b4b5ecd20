//! Which module may import which: the table below `## Layers` in `docs/ARCHITECTURE.md`.

use std::collections::{BTreeMap, BTreeSet};

use crate::sources::{code, product, root, test_modules};

/// What each top-level module may import: modules, and single names such as `admin::Readiness`.
type Layers = BTreeMap<String, BTreeSet<String>>;

/// The table of the document.
fn layers() -> Layers {
    let text = std::fs::read_to_string(root().join("docs/ARCHITECTURE.md")).expect("text");
    let (_, section) = text
        .split_once("\n## Layers\n")
        .expect("a section on layers");
    table(section.split("\n## ").next().unwrap_or_default())
}

/// Reads rows such as "`a`, `b` | `c`, `d::E`". A cell may say `nothing`, `everything`, or
/// "everything but" some.
fn table(section: &str) -> Layers {
    let quoted = |cell: &str| -> BTreeSet<String> {
        let names = cell.split('`').skip(1).step_by(2);
        names.map(str::to_owned).collect()
    };
    let rows: Vec<_> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |"))
        .map(|row| row.split_once(" | ").expect("two cells"))
        .map(|(modules, imports)| (quoted(&format!("`{modules}")), imports))
        .collect();
    let all: BTreeSet<String> = rows
        .iter()
        .flat_map(|(modules, _)| modules.clone())
        .collect();
    let mut layers = Layers::new();
    for (modules, imports) in rows {
        let named = quoted(imports);
        let allowed = match imports
            .split_once('`')
            .map_or(imports, |(words, _)| words)
            .trim()
        {
            "everything" => all.clone(),
            "everything but" => all.difference(&named).cloned().collect(),
            "nothing" | "" => named,
            words => panic!("docs/ARCHITECTURE.md: {words:?} in a cell of the layers"),
        };
        for module in modules {
            let twice = layers.insert(module.clone(), allowed.clone());
            assert!(
                twice.is_none(),
                "docs/ARCHITECTURE.md: two rows of {module}"
            );
        }
    }
    layers
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
fn forbidden(layers: &Layers, name: &str, code: &str) -> Vec<String> {
    let (own, depth) = module(name);
    let allowed = layers
        .get(own)
        .unwrap_or_else(|| panic!("{name}: docs/ARCHITECTURE.md has no layer for {own}"));
    let mut wrong = used(code, depth);
    wrong.retain(|path| {
        let top = path.split("::").next().unwrap_or_default();
        top != own && !allowed.contains(top) && !allowed.contains(path)
    });
    wrong
        .into_iter()
        .map(|path| format!("{name} uses {path}"))
        .collect()
}

#[test]
fn modules_use_only_what_lies_below_them() {
    let (layers, product) = (layers(), product());
    let wrong = product
        .iter()
        .flat_map(|(name, code)| forbidden(&layers, name, code));
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
fn every_row_and_every_single_name_is_needed() {
    let mut unused: BTreeSet<(String, String)> = BTreeSet::new();
    let layers = layers();
    for (module, allowed) in &layers {
        let names = allowed.iter().filter(|name| name.contains("::"));
        unused.extend(names.map(|name| (module.clone(), name.clone())));
    }
    let mut without_files: BTreeSet<&str> = layers.keys().map(String::as_str).collect();
    for (name, code) in product() {
        let (own, depth) = module(&name);
        without_files.remove(own);
        let used = used(&code, depth);
        unused.retain(|(module, path)| module != own || !used.contains(path));
    }
    assert_eq!(unused, BTreeSet::new());
    assert_eq!(without_files, BTreeSet::new());
}

#[test]
fn the_table_of_layers_is_understood() {
    let layers = table(
        "text\n\n| module | may import |\n| --- | --- |\n| `a`, `b` | nothing |\n\
         | `c` | `a`, `b::D` |\n| `e` | everything but `c`, `f` |\n| `f` | everything |\n",
    );
    let read: Vec<_> = layers
        .iter()
        .map(|(module, allowed)| {
            let allowed: Vec<_> = allowed.iter().map(String::as_str).collect();
            format!("{module}: {}", allowed.join(" "))
        })
        .collect();
    let expected = ["a: ", "b: ", "c: a b::D", "e: a b e", "f: a b c e f"];
    assert_eq!(read, expected);
}

#[test]
fn what_is_forbidden_is_seen_however_it_is_written() {
    let layers = layers();
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
            forbidden(&layers, name, &code(text)),
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
            "src/app/mod.rs",
            "use crate::control::Control;\nuse crate::gateway::Gateway;",
        ),
    ] {
        assert_eq!(forbidden(&layers, name, &code(text)), [""; 0], "{text}");
    }
    let hidden = "#[cfg(test)]\nmod tests {\n    use crate::web;\n}\nuse crate::gateway::Gateway;";
    assert_eq!(
        forbidden(&layers, "src/control/mod.rs", &code(hidden)).len(),
        1
    );
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
