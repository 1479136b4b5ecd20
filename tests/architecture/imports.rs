//! Which file uses which other file of its crate.
//!
//! An edge leads to the file that defines what is named: a re-export (`pub use`) counts as a use of
//! the file behind it, not of the one that passes the name on. A name that resolves to nothing in
//! the crate belongs to another crate. Methods have no paths: a file that calls one only names its
//! type's file, if that.

use std::collections::{BTreeMap, BTreeSet};

use crate::paths::{self, Paths};

/// A crate: its files by the module each one holds.
pub(crate) struct Tree {
    files: BTreeMap<Vec<String>, File>,
}

struct File {
    name: String,
    paths: Paths,
}

/// How often a name may be passed on before it reaches its definition.
const MAX_REEXPORTS: usize = 8;

impl Tree {
    /// The crate whose root file lies in a folder, from all its files' names and code.
    pub(crate) fn new(folder: &str, sources: &[(String, String)]) -> Self {
        let files = sources.iter().map(|(name, code)| {
            let path = name
                .strip_prefix(folder)
                .and_then(|name| name.strip_suffix(".rs"))
                .expect("a source of the folder");
            let mut module: Vec<String> = path
                .split('/')
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
                .collect();
            let is_root = module.len() == 1 && ["lib", "main"].contains(&module[0].as_str());
            if is_root || module.last().is_some_and(|last| last == "mod") {
                module.pop();
            }
            let file = File {
                name: name.clone(),
                paths: paths::read(code),
            };
            (module, file)
        });
        Self {
            files: files.collect(),
        }
    }

    /// Every use of another file: `(from, to)`.
    pub(crate) fn edges(&self) -> BTreeSet<(&str, &str)> {
        let mut edges = BTreeSet::new();
        for (module, file) in &self.files {
            let plain = file.paths.plain.iter();
            let plain = plain.filter_map(|plain| self.target(module, &plain.path, plain.inline));
            let uses = file.paths.uses.iter();
            // A module that is brought into scope is used by the paths that begin with it.
            let uses = uses.filter(|used| used.name == "*" || !self.is_module(module, used));
            let uses = uses.filter_map(|used| self.target(module, &used.path, used.inline));
            for target in plain.chain(uses) {
                let target = self.files[&target].name.as_str();
                if target != file.name {
                    edges.insert((file.name.as_str(), target));
                }
            }
        }
        edges
    }

    /// Whether a file's module is the parent of another file's, by their names.
    pub(crate) fn parent_of(&self, parent: &str, child: &str) -> bool {
        let module = |name: &str| self.files.iter().find(|(_, file)| file.name == name);
        let (Some((parent, _)), Some((child, _))) = (module(parent), module(child)) else {
            return false;
        };
        child.split_last().is_some_and(|(_, above)| above == parent)
    }

    fn is_module(&self, from: &[String], used: &paths::Use) -> bool {
        self.resolve(from, &used.path, used.inline, 0)
            .is_some_and(|(_, rest)| rest.is_empty())
    }

    /// The module whose file defines what a path names, seen from a module.
    fn target(&self, from: &[String], path: &[String], inline: usize) -> Option<Vec<String>> {
        self.resolve(from, path, inline, 0)
            .map(|(module, _)| module)
    }

    /// The same, with what is left of the path within that file.
    fn resolve(
        &self,
        from: &[String],
        path: &[String],
        inline: usize,
        passed_on: usize,
    ) -> Option<(Vec<String>, Vec<String>)> {
        if passed_on > MAX_REEXPORTS {
            return None;
        }
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => self.walk(Vec::new(), rest, passed_on),
            "self" => self.walk(from.to_vec(), rest, passed_on),
            "super" => {
                let climbs = path.iter().take_while(|part| *part == "super").count();
                let keep = from.len().checked_sub(climbs.saturating_sub(inline))?;
                self.walk(from[..keep].to_vec(), &path[climbs..], passed_on)
            }
            _ => {
                let mut child = from.to_vec();
                child.push(first.clone());
                if self.files.contains_key(&child) {
                    return self.walk(child, rest, passed_on);
                }
                let uses = &self.files.get(from)?.paths.uses;
                let import = uses.iter().find(|import| import.name == *first)?;
                // `use x;` of another crate names itself.
                if import.path.first() == Some(first) {
                    return None;
                }
                let path = [&import.path, rest].concat();
                self.resolve(from, &path, import.inline, passed_on + 1)
            }
        }
    }

    /// Follows a path down from a module, through re-exports.
    fn walk(
        &self,
        module: Vec<String>,
        path: &[String],
        passed_on: usize,
    ) -> Option<(Vec<String>, Vec<String>)> {
        let Some((first, rest)) = path.split_first() else {
            return Some((module, Vec::new()));
        };
        let mut child = module.clone();
        child.push(first.clone());
        if self.files.contains_key(&child) {
            return self.walk(child, rest, passed_on);
        }
        let uses = &self.files.get(&module)?.paths.uses;
        let named = uses.iter().filter(|used| used.name == *first);
        let named = named.map(|used| [&used.path, rest].concat());
        let globs = uses.iter().filter(|used| used.name == "*");
        let globs = globs.map(|used| [&used.path, path].concat());
        let passed: Option<_> = named.chain(globs).find_map(|path| {
            let found = self.resolve(&module, &path, 0, passed_on + 1)?;
            (found.0 != module).then_some(found)
        });
        Some(passed.unwrap_or((module, path.to_vec())))
    }
}

#[test]
fn uses_are_followed_to_the_defining_file() {
    let sources = [
        ("src/lib.rs", "pub mod a;\npub mod b;"),
        ("src/a/mod.rs", "mod c;\npub use c::D;\npub struct E;"),
        ("src/a/c.rs", "use super::E;\npub struct D;"),
        (
            "src/b.rs",
            "use crate::a::{self, D};\nuse std::fs;\nfn f() { a::E; fs::read(); other::x() }",
        ),
        ("src/main.rs.rs", ""),
    ]
    .map(|(name, code)| (name.to_owned(), code.to_owned()));
    let tree = Tree::new("src", &sources);
    let edges: Vec<_> = tree.edges().into_iter().collect();
    let expected = [
        ("src/a/c.rs", "src/a/mod.rs"),
        ("src/a/mod.rs", "src/a/c.rs"),
        ("src/b.rs", "src/a/c.rs"),
        ("src/b.rs", "src/a/mod.rs"),
    ];
    assert_eq!(edges, expected);
    assert!(tree.parent_of("src/a/mod.rs", "src/a/c.rs"));
    assert!(!tree.parent_of("src/a/c.rs", "src/a/mod.rs"));
    assert!(!tree.parent_of("src/a/mod.rs", "src/b.rs"));
}
