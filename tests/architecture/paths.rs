//! The paths of a source file, such as `crate::store::Store`, and what its `use` declarations
//! bring into scope.

/// What a file names.
#[derive(Default)]
pub(crate) struct Paths {
    /// `use` declarations, re-exports among them.
    pub(crate) uses: Vec<Use>,
    /// Every other path of at least two segments, with the inline modules around it.
    pub(crate) plain: Vec<Plain>,
}

/// One name that a `use` declaration brings into scope; `*` is every name.
pub(crate) struct Use {
    pub(crate) name: String,
    pub(crate) path: Vec<String>,
    pub(crate) inline: usize,
}

/// A path in code, and how many inline modules (`mod x { … }`) stand around it.
pub(crate) struct Plain {
    pub(crate) path: Vec<String>,
    pub(crate) inline: usize,
}

/// Reads the paths of code without comments.
pub(crate) fn read(code: &str) -> Paths {
    let tokens = tokens(code);
    let mut paths = Paths::default();
    let mut depth = 0_usize;
    let mut modules = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at].as_str() {
            "{" => depth += 1,
            "}" => {
                depth = depth.saturating_sub(1);
                modules.retain(|&start| start < depth);
            }
            "mod" if tokens.get(at + 2).is_some_and(|token| token == "{") => modules.push(depth),
            "use" => {
                at = tree(&tokens, at + 1, &[], modules.len(), &mut paths.uses);
                continue;
            }
            // The path of a visibility, `pub(in crate::a)`, uses nothing.
            "in" if at > 0 && tokens[at - 1] == "(" => {
                at = path(&tokens, at + 1).1;
                continue;
            }
            token if is_name(token) => {
                let (path, next) = path(&tokens, at);
                if path.len() > 1 {
                    paths.plain.push(Plain {
                        path,
                        inline: modules.len(),
                    });
                }
                at = next;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    paths
}

/// A tree of a `use` declaration from a token on; returns where it ends.
fn tree(
    tokens: &[String],
    start: usize,
    prefix: &[String],
    inline: usize,
    found: &mut Vec<Use>,
) -> usize {
    let (segments, mut at) = path(tokens, start);
    let mut full = prefix.to_vec();
    full.extend(segments);
    let token = |at: usize| tokens.get(at).map_or("", String::as_str);
    if token(at) == "::" {
        at += 1;
    }
    match token(at) {
        "{" => {
            at += 1;
            while !matches!(token(at), "}" | "") {
                at = tree(tokens, at, &full, inline, found);
                if token(at) == "," {
                    at += 1;
                }
            }
            return at + 1;
        }
        "*" => {
            found.push(Use {
                name: "*".into(),
                path: full,
                inline,
            });
            return at + 1;
        }
        _ => {}
    }
    if full.last().is_some_and(|last| last == "self") && full.len() > 1 {
        full.pop();
    }
    let mut name = full.last().cloned().unwrap_or_default();
    if token(at) == "as" {
        token(at + 1).clone_into(&mut name);
        at += 2;
    }
    found.push(Use {
        name,
        path: full,
        inline,
    });
    at.max(start + 1)
}

/// Names joined by `::`, from a token on; returns where they end.
fn path(tokens: &[String], start: usize) -> (Vec<String>, usize) {
    let mut path = Vec::new();
    let mut at = start;
    while tokens.get(at).is_some_and(|token| is_name(token)) {
        path.push(tokens[at].clone());
        let joined = tokens.get(at + 1).is_some_and(|token| token == "::")
            && tokens.get(at + 2).is_some_and(|token| is_name(token));
        if !joined {
            return (path, at + 1);
        }
        at += 2;
    }
    (path, at)
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Names, `::` and single characters; literals are left out.
fn tokens(code: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let length = if first.is_alphabetic() || first == '_' {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
            let end = end.unwrap_or(rest.len());
            if let Some(literal) = raw_string(&rest[end..], &rest[..end]) {
                end + literal
            } else {
                tokens.push(rest[..end].to_owned());
                end
            }
        } else if first.is_ascii_digit() {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
            end.unwrap_or(rest.len())
        } else if first == '"' {
            string(rest)
        } else if first == '\'' {
            character(rest)
        } else if rest.starts_with("::") {
            tokens.push("::".to_owned());
            2
        } else {
            if !first.is_whitespace() {
                tokens.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    tokens
}

/// The length of a raw string's rest after its prefix.
fn raw_string(rest: &str, prefix: &str) -> Option<usize> {
    if !matches!(prefix, "r" | "br") {
        return None;
    }
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    let body = rest[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(hashes + 1 + body.find(&end)? + end.len())
}

fn string(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The length of a character, or of a lifetime's quotation mark.
fn character(rest: &str) -> usize {
    let mut characters = rest.char_indices().skip(1);
    match characters.next() {
        Some((_, '\\')) => rest[3..].find('\'').map_or(rest.len(), |end| end + 4),
        Some(_) => match characters.next() {
            Some((at, '\'')) => at + 1,
            _ => 1,
        },
        None => 1,
    }
}

#[test]
fn paths_and_uses_are_read_however_they_are_written() {
    let code = "pub(crate) use self::b::{self, C as D, e::*};\nuse super::f;\n\
        fn g<'a>(x: &'a str) -> crate::h::I { let j = '\\''; k::L::m(\"use crate::n;\", 'o') }\n\
        mod inner { use super::q; fn r() { s::t() } }\nfn u() { v::w }";
    let paths = read(code);
    let uses: Vec<_> = paths
        .uses
        .iter()
        .map(|used| format!("{} = {}, {}", used.name, used.path.join("::"), used.inline))
        .collect();
    let expected = [
        "b = self::b, 0",
        "D = self::b::C, 0",
        "* = self::b::e, 0",
        "f = super::f, 0",
        "q = super::q, 1",
    ];
    assert_eq!(uses, expected);
    let plain: Vec<_> = paths
        .plain
        .iter()
        .map(|plain| format!("{}, {}", plain.path.join("::"), plain.inline))
        .collect();
    assert_eq!(
        plain,
        ["crate::h::I, 0", "k::L::m, 0", "s::t, 1", "v::w, 0"]
    );
    assert_eq!(read("pub(in crate::a) fn b() {}").plain.len(), 0);
    let raw = read("const A: &str = r#\"use crate::b; \" c::d\"#; e::f");
    assert_eq!((raw.uses.len(), raw.plain.len()), (0, 1));
}
