//! `tests/evidence.yaml` connects what documents promise with tests; `docs/TESTS.md` shows it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::{files, pattern, read, root};

const SOURCE: &str = "tests/evidence.yaml";
const PAGE: &str = "docs/TESTS.md";
const HEAD: &str = "# Tests of the documented behavior

This page is generated from [tests/evidence.yaml](../tests/evidence.yaml); do not edit it. To update it:
`UPDATE=1 cargo test --all-features --test deploy evidence`.

Each entry is a row of [PARITY.md](PARITY.md), [SECURITY.md](SECURITY.md) or
[RELIABILITY.md](RELIABILITY.md), followed by the tests that fail if the row is no longer true. Run one with
`cargo test --all-features NAME -- --include-ignored`. A file without a name stands for all tests in it, or
for the code where the behavior has no test of its own.
";

/// An entry: where a document makes a promise, and what shows that it is kept.
struct Entry {
    document: String,
    section: String,
    behavior: String,
    tests: Vec<String>,
}

fn entries() -> Vec<Entry> {
    let parsed = crate::parse(SOURCE, &read(SOURCE));
    let mut entries = Vec::new();
    for (document, sections) in object(&parsed[0]) {
        for (section, behaviors) in object(sections) {
            for (behavior, tests) in object(behaviors) {
                let tests = tests.as_array().into_iter().flatten();
                entries.push(Entry {
                    document: document.clone(),
                    section: section.clone(),
                    behavior: behavior.clone(),
                    tests: tests
                        .map(|test| test.as_str().expect("text").to_owned())
                        .collect(),
                });
            }
        }
    }
    entries
}

fn object(value: &Value) -> &Map<String, Value> {
    value.as_object().expect("a map")
}

/// The files that define each function.
fn definitions() -> BTreeMap<String, BTreeSet<String>> {
    let function = pattern(r"\bfn (\w+)\s*\(");
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (file, text) in ["src", "tests", "standin/src", "standin/tests"]
        .into_iter()
        .filter(|directory| root().join(directory).is_dir())
        .flat_map(files)
    {
        for one in function.captures_iter(&text) {
            found
                .entry(one[1].to_owned())
                .or_default()
                .insert(file.clone());
        }
    }
    found
}

/// The text of each section of a document, by its heading.
fn sections(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut heading = String::new();
    for line in text.lines() {
        match line.trim_start_matches('#').strip_prefix(' ') {
            Some(title) if line.starts_with('#') => title.clone_into(&mut heading),
            _ => {
                let section: &mut String = found.entry(heading.clone()).or_default();
                section.push_str(line);
                section.push('\n');
            }
        }
    }
    found
}

/// The first cells of each table of a section, without its head.
fn tables(section: &str) -> Vec<Vec<&str>> {
    let mut tables = vec![Vec::new()];
    for line in section.lines() {
        match line.strip_prefix("| ") {
            Some(row) => {
                let cell = row.split(" | ").next().unwrap_or_default();
                tables.last_mut().expect("a table").push(cell);
            }
            None => tables.push(Vec::new()),
        }
    }
    tables.retain(|table| table.len() > 2);
    tables.iter().map(|table| table[2..].to_vec()).collect()
}

#[test]
fn evidence_is_there_for_every_row() {
    let entries = entries();
    let documents: BTreeSet<_> = entries.iter().map(|entry| &entry.document).collect();
    for document in documents {
        let text = read(document);
        let sections = sections(&text);
        let mut of_section: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for entry in entries.iter().filter(|entry| entry.document == *document) {
            let section = sections.get(&entry.section);
            let section = section.unwrap_or_else(|| panic!("{document}: {}", entry.section));
            let place = format!("{document}, {}: {}", entry.section, entry.behavior);
            assert!(section.contains(&entry.behavior), "{place}");
            assert!(!entry.tests.is_empty(), "{place}");
            let behaviors = of_section.entry(&entry.section).or_default();
            behaviors.insert(&entry.behavior);
        }
        for (section, behaviors) in of_section {
            for table in tables(&sections[section]) {
                if !table.iter().any(|row| behaviors.contains(row)) {
                    continue;
                }
                for row in table {
                    assert!(behaviors.contains(row), "{document}, {section}: {row}");
                }
            }
        }
    }
}

#[test]
fn evidence_is_shown_in_a_page() {
    let definitions = definitions();
    let mut page = HEAD.to_owned();
    let mut shown = ("", "");
    let entries = entries();
    assert!(entries.len() > 250, "the table is not understood");
    for entry in &entries {
        if shown.0 != entry.document {
            let name = entry.document.trim_start_matches("docs/");
            let _ = write!(page, "\n## [{name}]({name})\n");
        }
        if shown != (&entry.document, &entry.section) {
            let _ = write!(page, "\n### {}\n\n", entry.section);
        }
        shown = (&entry.document, &entry.section);
        let _ = writeln!(page, "- {}", entry.behavior);
        let mut of_file: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for test in &entry.tests {
            if test.contains(' ') {
                let _ = writeln!(page, "  - {test}");
            } else if test.contains('/') {
                assert!(root().join(test).is_file(), "{SOURCE}: {test}");
                of_file.entry(test.clone()).or_default();
            } else {
                let defined = definitions.get(test);
                let defined = defined.unwrap_or_else(|| panic!("{SOURCE}: no function {test}"));
                for file in defined {
                    of_file.entry(file.clone()).or_default().push(test);
                }
            }
        }
        for (file, tests) in of_file {
            let names: Vec<_> = tests.iter().map(|test| format!("`{test}`")).collect();
            let colon = if names.is_empty() { "" } else { ": " };
            let _ = writeln!(page, "  - {file}{colon}{}", names.join(", "));
        }
    }
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(root().join(PAGE), &page).expect("written");
    }
    assert!(
        read(PAGE) == page,
        "{PAGE} is old: UPDATE=1 cargo test --all-features --test deploy evidence"
    );
}
