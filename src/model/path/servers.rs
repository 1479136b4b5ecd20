//! `servers.tsv` against our readings, our rules and our allow-list.

use percent_encoding::percent_decode;

use super::{PathPattern, Readings, eager};
use crate::model::{Action, Policy, Rule, RuleDecision};

/// One line of the table.
pub(crate) struct Row {
    /// The path in the request line.
    pub(crate) path: &'static str,
    /// What servers take it for.
    pub(crate) reading: Reading,
    /// Which do.
    pub(crate) servers: &'static str,
}

/// What a server takes a path for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reading {
    /// This text.
    Text(String),
    /// Bytes that are no text.
    Bytes(Vec<u8>),
    /// Something in this directory.
    Below(String),
    /// Something that begins so.
    Prefix(String),
}

impl Reading {
    fn parse(text: &str) -> Self {
        let mut bytes = Vec::new();
        let mut rest = text.as_bytes();
        while let Some((byte, behind)) = rest.split_first() {
            rest = behind;
            match (byte, behind) {
                (b'\\', [b'\\', behind @ ..]) => {
                    bytes.push(b'\\');
                    rest = behind;
                }
                (b'\\', [b'x', a, b, behind @ ..]) => {
                    let byte = [b'%', *a, *b];
                    bytes.extend(percent_decode(&byte));
                    rest = behind;
                }
                _ => bytes.push(*byte),
            }
        }
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => return Self::Bytes(error.into_bytes()),
        };
        if let Some(directory) = text.strip_suffix("/*") {
            Self::Below(directory.to_owned())
        } else if let Some(prefix) = text.strip_suffix('*') {
            Self::Prefix(prefix.to_owned())
        } else {
            Self::Text(text)
        }
    }

    /// The expression of a rule for exactly this; none for what is no text.
    fn pattern(&self) -> Option<String> {
        Some(match self {
            Self::Text(text) => format!("^{}$", regex::escape(text)),
            Self::Below(directory) => format!("^{}(/|$)", regex::escape(directory)),
            Self::Prefix(prefix) => format!("^{}", regex::escape(prefix)),
            Self::Bytes(_) => return None,
        })
    }

    /// Whether a rule that opens `prefix` means this.
    fn begins_with(&self, prefix: &str) -> bool {
        match self {
            Self::Text(text) | Self::Below(text) | Self::Prefix(text) => text.starts_with(prefix),
            Self::Bytes(bytes) => bytes.starts_with(prefix.as_bytes()),
        }
    }
}

/// The table.
pub(crate) fn rows() -> Vec<Row> {
    let lines = include_str!("servers.tsv").lines();
    let lines = lines.filter(|line| !line.starts_with('#'));
    let rows: Vec<_> = lines
        .map(|line| {
            let columns: Vec<_> = line.split('\t').collect();
            let [path, reading, servers] = columns[..] else {
                panic!("{line:?} has no three columns");
            };
            let reading = Reading::parse(reading);
            Row {
                path,
                reading,
                servers,
            }
        })
        .collect();
    let mut paths: Vec<_> = rows.iter().map(|row| row.path).collect();
    paths.dedup();
    assert!(paths.len() > 60, "{} paths", paths.len());
    rows
}

pub(super) fn policy(rules: &[(&str, Action)]) -> Policy {
    let rule = |(path, action): &(&str, Action)| Rule {
        path: Some(PathPattern::new(path).expect(path)),
        networks: vec![],
        methods: vec![],
        action: action.clone(),
    };
    Policy {
        rules: rules.iter().map(rule).collect(),
        ..Policy::default()
    }
}

pub(super) fn denies(policy: &Policy, path: &str) -> bool {
    let decision = policy.evaluate(path, None, None);
    matches!(
        decision,
        Some(RuleDecision::Deny(_) | RuleDecision::Ambiguous)
    )
}

#[test]
fn ap_2026_03_a_rule_restricts_what_any_server_makes_of_a_path() {
    for Row {
        path,
        reading,
        servers,
    } in rows()
    {
        let Some(pattern) = reading.pattern() else {
            assert_eq!(Readings::of(path), Readings::Unknown, "{path}: {servers}");
            continue;
        };
        let policy = policy(&[(&pattern, Action::Deny)]);
        assert!(denies(&policy, path), "{path} is {reading:?} to {servers}");
    }
}

#[test]
fn ap_2026_03_what_is_opened_is_the_same_to_every_server() {
    let rows = rows();
    let mut opened = 0;
    for prefix in ["/admin", "/x", "/a", "/caf", "/100", "/index.php", "/"] {
        let pattern = format!("^{}", regex::escape(prefix));
        let policy = policy(&[(&pattern, Action::Allow)]);
        for Row {
            path,
            reading,
            servers,
        } in &rows
        {
            if matches!(
                policy.evaluate(path, None, None),
                Some(RuleDecision::Allow(_))
            ) {
                opened += 1;
                // A front controller's rest of the path is not another page.
                let same = reading.begins_with(prefix) || *servers == "nginx.fastcgi";
                assert!(
                    same,
                    "{path} is opened by {pattern}, and {reading:?} to {servers}"
                );
            }
        }
    }
    assert!(opened > 50, "{opened}");
}

#[test]
fn ap_2026_03_what_is_common_has_readings() {
    for (path, expected) in [
        ("/", vec!["/"]),
        ("/a/b.html", vec!["/a/b.html"]),
        ("/wiki/Inc.", vec!["/wiki/Inc."]),
        ("/a%20b", vec!["/a%20b", "/a b"]),
        ("/%61dmin", vec!["/%61dmin", "/admin"]),
        ("/caf%c3%a9", vec!["/caf%c3%a9", "/caf%C3%A9", "/caf\u{e9}"]),
        ("/100%25", vec!["/100%25", "/100%"]),
        (
            "/api/group%2Fproject",
            vec!["/api/group%2Fproject", "/api/group/project"],
        ),
        (
            "/a%2fb%20c",
            vec!["/a%2fb%20c", "/a%2fb c", "/a/b%20c", "/a/b c"],
        ),
        ("/a;v=1/b", vec!["/a;v=1/b", "/a/b", "/a"]),
        ("/a//b", vec!["/a//b", "/a/b"]),
        ("//a/b", vec!["//a/b", "/a/b", "/b"]),
        ("/wiki/C%23", vec!["/wiki/C%23", "/wiki/C", "/wiki/C#"]),
        (
            "/DOMAIN%5Cuser",
            vec!["/DOMAIN%5Cuser", "/DOMAIN/user", "/DOMAIN\\user"],
        ),
    ] {
        let readings = Readings::of(path);
        let mut found: Vec<_> = readings.known().expect(path).collect();
        assert_eq!(found[0], path);
        found[1..].sort_unstable();
        let mut expected = expected;
        expected[1..].sort_unstable();
        assert_eq!(found, expected, "{path}");
    }
    for path in [
        "/a/../b",
        "/a/%2e%2e/b",
        "/./a",
        "/a/..;/b",
        "/;/a",
        "/%2561",
        "/%252f",
        "/a%00",
        "/a%0d",
        "/%ff",
        "/%c0%ae",
        "/%",
        "/%zz",
        "/%u0061",
        "/a%2f/b",
        "/a;b%2fc",
        "/a\\..\\b",
        "///a",
        "/(S(x))/a",
        "/.../a",
        "/a;b/c;d",
        "/a//b//c",
    ] {
        assert_eq!(Readings::of(path), Readings::Unknown, "{path}");
    }
}

#[test]
fn reads_as_eagerly_as_a_chain_of_servers() {
    for (path, expected) in [
        ("/", "/"),
        ("/a/b/", "/a/b/"),
        ("/public/../admin", "/admin"),
        ("/public/%2e%2e%2fadmin", "/admin"),
        ("/public/%252e%252e/admin", "/admin"),
        ("//admin//x", "/admin/x"),
        ("/%61dmin", "/admin"),
        ("/public/..;/admin", "/admin"),
        ("/admin;v=1/x", "/admin/x"),
        ("/public\\..\\admin", "/admin"),
        ("/../../x", "/x"),
        ("/%zz", "/%zz"),
    ] {
        assert_eq!(eager(path), expected, "{path}");
    }
}
