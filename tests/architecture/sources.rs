//! The sources of the repository.

use std::path::{Path, PathBuf};

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files below a directory, with their text; names begin at the root.
pub(crate) fn sources(directory: &str) -> Vec<(String, String)> {
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
pub(crate) fn product() -> Vec<(String, String)> {
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
pub(crate) fn test_modules(name: &str, text: &str) -> Vec<String> {
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
pub(crate) fn code(text: &str) -> String {
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
