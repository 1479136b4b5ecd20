//! The readings of a path: what one server takes for a name is a directory change to another.

use std::borrow::Cow;

use percent_encoding::{percent_decode, percent_decode_str};

/// The decoded path, or `None` if the path has more than one reading.
pub(super) fn unambiguous(path: &str) -> Option<String> {
    if path.contains(['\\', ';']) || path.contains("//") {
        return None;
    }
    let decoded = percent_decode_str(path).decode_utf8().ok()?;
    let slashes = |text: &str| text.bytes().filter(|b| *b == b'/').count();
    let ambiguous = slashes(path) != slashes(&decoded)
        || decoded.contains(['\\', ';', '%', '?', '#'])
        || decoded.chars().any(char::is_control)
        || decoded
            .split('/')
            .any(|segment| segment == "." || segment == "..");
    (!ambiguous).then(|| decoded.into_owned())
}

/// The path as the most eager server would read it: decoded until nothing is left to decode,
/// parameters dropped, backslashes turned, slashes merged, dot segments resolved.
#[must_use]
pub fn eager(path: &str) -> String {
    let mut bytes = Cow::Borrowed(path.as_bytes());
    // Each round shortens what it changes, so this ends.
    while bytes.contains(&b'%') {
        let decoded: Vec<u8> = percent_decode(&bytes).collect();
        if decoded == *bytes {
            break;
        }
        bytes = Cow::Owned(decoded);
    }
    let text = String::from_utf8_lossy(&bytes).replace('\\', "/");
    let mut segments: Vec<&str> = Vec::new();
    for segment in text.split('/') {
        match segment.split(';').next().unwrap_or_default() {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            name => segments.push(name),
        }
    }
    let end = if text.ends_with('/') && !segments.is_empty() {
        "/"
    } else {
        ""
    };
    format!("/{}{end}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_eagerly_as_any_server() {
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
}
