//! No two files import each other, directly or around. What a parent module and its own child use
//! of each other is left aside.

use std::collections::{BTreeMap, BTreeSet};

use crate::imports::Tree;
use crate::sources::{code, product, sources};

/// Folders of crates, and of test programs.
const CRATES: &[&str] = &[
    "src",
    "standin/src",
    "standin/tests/wire",
    "demo/src",
    "tests/architecture",
    "tests/deploy",
    "tests/discover",
    "tests/outpost",
    "benches/compare/src",
];

/// Groups of files that import each other in a circle, with the uses among them.
fn circles<'a>(edges: &BTreeSet<(&'a str, &'a str)>) -> Vec<Vec<(&'a str, &'a str)>> {
    let mut next: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (from, to) in edges {
        next.entry(from).or_default().push(to);
    }
    let reachable: BTreeMap<&str, BTreeSet<&str>> = next
        .keys()
        .map(|&start| {
            let (mut seen, mut open) = (BTreeSet::new(), vec![start]);
            while let Some(file) = open.pop() {
                for &to in next.get(file).into_iter().flatten() {
                    if seen.insert(to) {
                        open.push(to);
                    }
                }
            }
            (start, seen)
        })
        .collect();
    let together = |a: &str, b: &str| {
        let reaches =
            |from: &str, to: &str| reachable.get(from).is_some_and(|set| set.contains(to));
        reaches(a, b) && reaches(b, a)
    };
    let mut circles: Vec<Vec<(&str, &str)>> = Vec::new();
    for &(from, to) in edges {
        if !together(from, to) {
            continue;
        }
        match circles
            .iter_mut()
            .find(|circle| together(circle[0].0, from))
        {
            Some(circle) => circle.push((from, to)),
            None => circles.push(vec![(from, to)]),
        }
    }
    circles
}

/// The circles of a crate, readable.
fn circles_of(folder: &str, sources: &[(String, String)]) -> Vec<String> {
    let tree = Tree::new(folder, sources);
    let mut edges = tree.edges();
    edges.retain(|(from, to)| !tree.parent_of(to, from));
    let readable = circles(&edges).into_iter().map(|circle| {
        let files: BTreeSet<_> = circle.iter().map(|(from, _)| from).collect();
        let uses: Vec<_> = circle
            .iter()
            .map(|(from, to)| format!("\n    {from} -> {to}"))
            .collect();
        format!("{} files in {folder}:{}", files.len(), uses.concat())
    });
    readable.collect()
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let mut found = Vec::new();
    for &folder in CRATES {
        let sources = match folder {
            "src" => product(),
            _ => sources(folder)
                .into_iter()
                .map(|(name, text)| (name, code(&text)))
                .collect(),
        };
        found.extend(circles_of(folder, &sources));
    }
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn circles_are_found() {
    let edges = BTreeSet::from([
        ("a", "b"),
        ("b", "c"),
        ("c", "a"),
        ("c", "d"),
        ("d", "e"),
        ("f", "g"),
        ("g", "f"),
    ]);
    let expected = [
        vec![("a", "b"), ("b", "c"), ("c", "a")],
        vec![("f", "g"), ("g", "f")],
    ];
    assert_eq!(circles(&edges), expected);
}

#[test]
fn a_parent_and_its_child_may_use_each_other() {
    let files = |files: &[(&str, &str)]| -> Vec<(String, String)> {
        let owned = files.iter().map(|&(name, code)| (name.into(), code.into()));
        owned.collect()
    };
    let family = files(&[
        ("src/a/mod.rs", "mod b;\nuse b::B;\npub struct A;"),
        ("src/a/b.rs", "use super::A;\npub struct B;"),
    ]);
    assert_eq!(circles_of("src", &family), [""; 0]);
    let siblings = files(&[
        ("src/a/mod.rs", "mod b;\nmod c;"),
        ("src/a/b.rs", "use super::c::C;\npub struct B;"),
        ("src/a/c.rs", "use super::b::B;\npub struct C;"),
    ]);
    assert_eq!(circles_of("src", &siblings).len(), 1);
}
