//! Links of documents lead to a file, and to a heading of it.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use crate::{pattern, read, root, texts};

/// The anchors that GitHub makes of the headings of a document, and those that it defines itself.
fn anchors(text: &str) -> BTreeSet<String> {
    let own = pattern(r#"<a id="([^"]+)""#);
    let mut found: BTreeSet<String> = own
        .captures_iter(text)
        .map(|one| one[1].to_owned())
        .collect();
    let mut in_code = false;
    for line in text.lines() {
        in_code ^= line.starts_with("```");
        let heading = line.trim_start_matches('#').strip_prefix(' ');
        if let (false, true, Some(heading)) = (in_code, line.starts_with('#'), heading) {
            let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
            let anchor: String = heading.to_lowercase().chars().filter(kept).collect();
            found.insert(anchor.replace(' ', "-"));
        }
    }
    found
}

/// `path` without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(normal.pop()),
            Component::CurDir => {}
            part => normal.push(part),
        }
    }
    normal
}

#[test]
fn every_link_leads_somewhere() {
    let link = pattern(r"\]\(([^)\s]+)\)");
    let elsewhere = pattern("^[a-z]+:");
    let mut documents = texts();
    documents.push(("SECURITY.md".to_owned(), read("SECURITY.md")));
    documents.retain(|(name, _)| Path::new(name).extension().is_some_and(|e| e == "md"));
    let mut count = 0;
    for (name, text) in &documents {
        let directory = Path::new(name).parent().unwrap_or(Path::new(""));
        for one in link.captures_iter(text) {
            let target = &one[1];
            if elsewhere.is_match(target) {
                continue;
            }
            count += 1;
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = match path {
                "" => PathBuf::from(name),
                path => normal(&directory.join(path)),
            };
            assert!(root().join(&path).exists(), "{name}: {target}");
            let is_document = path.extension().is_some_and(|e| e == "md");
            if is_document && !anchor.is_empty() {
                let text = read(path.to_str().expect("text"));
                assert!(anchors(&text).contains(anchor), "{name}: {target}");
            }
        }
    }
    assert!(count > 100, "the pattern finds too little");
}
