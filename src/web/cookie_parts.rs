//! A session cookie in several parts: browsers keep at most 4 KiB in one.
//!
//! ```text
//! name   = 1.<number of parts>.<text>
//! name_1 = <first 8 characters of the whole text>.<text, continued>
//! ```
//!
//! Parts are only put together here. The text is encrypted as a whole, so that a part that is missing,
//! changed or of another session makes it worthless.

use http::{HeaderMap, header};

use super::cookie::{Attributes, set};

/// Cookies that one session takes at most.
pub const MAX_PARTS: usize = 8;

/// Length of the text of a session, in characters. Longer ones are not read.
pub const MAX_TEXT_BYTES: usize = 28 << 10;

/// Texts of a request that are put together, for one name. First parts that were never sealed here do
/// not count: those in front of the right one may come from another host of the domain, which must not
/// lock users out.
pub const MAX_TEXTS: usize = 16;

/// Characters of all texts of a request that are put together, for one name.
pub const MAX_READ_BYTES: usize = 256 << 10;

/// First parts, and further parts, that are read from one request, for one name. Browsers keep fewer
/// cookies for a domain (Chromium and Firefox: 180).
const MAX_READ_PARTS: usize = 256;

/// Length of a `Set-Cookie` value, in bytes: browsers keep at least 4,096 of each cookie (RFC 6265
/// section 6.1).
const MAX_SET_COOKIE_BYTES: usize = 3_900;

/// Start of a first part: the version of the form.
const VERSION: &[u8] = b"1.";

/// Characters of the text that tell to which session a further part belongs.
const TAG_BYTES: usize = 8;

/// The session does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session takes {needed} bytes of the Cookie header, and may take {limit}")]
pub struct TooLarge {
    /// What it takes in the `Cookie` header, in bytes.
    pub needed: usize,
    /// What it may take.
    pub limit: usize,
}

/// The name of a part.
#[must_use]
pub fn part_name(name: &str, index: usize) -> String {
    match index {
        0 => name.to_owned(),
        _ => format!("{name}_{index}"),
    }
}

/// `Set-Cookie` values for a text of unpadded base64url. `limit` bounds what the cookies take in a
/// `Cookie` header, in bytes.
pub fn split(
    name: &str,
    text: &str,
    attributes: Attributes<'_>,
    limit: usize,
) -> Result<Vec<String>, TooLarge> {
    let tag = text.get(..TAG_BYTES).unwrap_or_default();
    // The longest start of a value and the longest name, for parts of about the same size.
    let start = VERSION.len() + "8.".len();
    let overhead = start.max(TAG_BYTES + 1);
    let empty = set(&part_name(name, 1), "", attributes).len() + overhead;
    let room = MAX_SET_COOKIE_BYTES.saturating_sub(empty).max(1);
    let count = text.len().div_ceil(room).max(1);
    // `name=value; ` of each.
    let around = part_name(name, 1).len() + "=; ".len() + overhead;
    let needed = text.len() + count * around;
    let is_short = count <= MAX_PARTS && text.len() <= MAX_TEXT_BYTES;
    if needed > limit || !is_short {
        return Err(TooLarge { needed, limit });
    }
    let parts = text.as_bytes().chunks(room).enumerate();
    let cookies = parts.map(|(index, part)| {
        let part = String::from_utf8_lossy(part);
        let value = match index {
            0 => format!("1.{count}.{part}"),
            _ => format!("{tag}.{part}"),
        };
        set(&part_name(name, index), &value, attributes)
    });
    Ok(cookies.collect())
}

/// A text in its parts.
pub struct Text<'a> {
    parts: [&'a [u8]; MAX_PARTS],
    count: usize,
}

impl<'a> Text<'a> {
    /// The parts, in order.
    pub fn parts(&self) -> impl Iterator<Item = &'a [u8]> {
        self.parts.into_iter().take(self.count)
    }

    /// The whole text.
    #[must_use]
    pub fn joined(&self) -> Vec<u8> {
        self.parts[..self.count].concat()
    }

    fn length(&self) -> usize {
        self.parts().map(<[u8]>::len).sum()
    }
}

/// The cookies of one session in a request.
#[derive(Default)]
pub struct Sent<'a> {
    first: Vec<(usize, &'a [u8])>,
    further: Vec<(usize, &'a [u8])>,
}

impl<'a> Sent<'a> {
    /// Reads the cookies of this name and its parts.
    #[must_use]
    pub fn read(headers: &'a HeaderMap, name: &str) -> Self {
        let mut sent = Self::default();
        let lines = headers.get_all(header::COOKIE).into_iter();
        for pair in lines.flat_map(|line| line.as_bytes().split(|b| *b == b';')) {
            match pair.trim_ascii().strip_prefix(name.as_bytes()) {
                Some([b'=', value @ ..]) => {
                    let count = value.strip_prefix(VERSION);
                    if let Some([count @ b'1'..=b'8', b'.', text @ ..]) = count
                        && sent.first.len() < MAX_READ_PARTS
                    {
                        sent.first.push((usize::from(count - b'0'), text));
                    }
                }
                Some([b'_', index @ b'1'..=b'7', b'=', value @ ..])
                    if sent.further.len() < MAX_READ_PARTS =>
                {
                    sent.further.push((usize::from(index - b'0'), value));
                }
                _ => {}
            }
        }
        sent
    }

    /// The texts that are complete, as far as can be told. `is_sealed` tells by its first part whether
    /// a text was sealed here; it is called once for each first part. Others are not put together.
    pub fn texts(self, mut is_sealed: impl FnMut(&[u8]) -> bool) -> impl Iterator<Item = Text<'a>> {
        let Self { first, further } = self;
        let first = first.into_iter().filter(move |(_, text)| is_sealed(text));
        let texts = first.take(MAX_TEXTS).filter_map(move |(count, text)| {
            let tag = text.get(..TAG_BYTES)?;
            let mut parts = [&[][..]; MAX_PARTS];
            parts[0] = text;
            for (index, part) in parts.iter_mut().enumerate().take(count).skip(1) {
                *part = further.iter().find_map(|(found, value)| {
                    let continued = value.strip_prefix(tag)?.strip_prefix(b".")?;
                    (*found == index).then_some(continued)
                })?;
            }
            let text = Text { parts, count };
            (text.length() <= MAX_TEXT_BYTES).then_some(text)
        });
        texts.scan(MAX_READ_BYTES, |left, text| {
            *left = left.checked_sub(text.length())?;
            Some(text)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "authentik_proxy_948fe603";
    const ATTRIBUTES: Attributes<'_> = Attributes {
        secure: true,
        domain: Some("a.rather.long.domain.name.company.test"),
        max_age: 86_400,
    };

    /// A text of unpadded base64url, each with another start.
    fn text(start: &str, length: usize) -> String {
        let rest = "abcdefghijklmnopqrstuvwxyz0123456789-_".chars().cycle();
        start.chars().chain(rest).take(length).collect()
    }

    /// What browsers send back.
    fn pairs(set_cookies: &[String]) -> Vec<String> {
        let pair = |cookie: &String| cookie.split(';').next().expect("a pair").to_owned();
        set_cookies.iter().map(pair).collect()
    }

    fn read(lines: &[String]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::COOKIE, line.parse().expect("a header"));
        }
        let texts = Sent::read(&headers, NAME).texts(|_| true);
        let texts = texts.map(|text| {
            assert_eq!(text.parts().collect::<Vec<_>>().concat(), text.joined());
            String::from_utf8(text.joined()).expect("text")
        });
        texts.collect()
    }

    #[test]
    fn a_text_is_split_and_put_together_again() {
        for (length, count) in [(60, 1), (3_000, 1), (3_738, 1), (3_800, 2), (24_000, 7)] {
            let text = text("aaaaaaaa", length);
            let cookies = split(NAME, &text, ATTRIBUTES, 32 << 10).expect("fits");
            assert_eq!(cookies.len(), count, "{length}");
            assert!(cookies.iter().all(|cookie| cookie.len() <= 3_900));
            let mut pairs = pairs(&cookies);
            assert!(pairs[0].starts_with(&format!("{NAME}=1.{count}.aaaaaaaa")));
            assert_eq!(read(&[pairs.join("; ")]), [&*text]);
            pairs.reverse();
            pairs.insert(0, "other=1".to_owned());
            assert_eq!(read(&pairs), [text], "in any order, in lines of their own");
        }
    }

    #[test]
    fn the_limit_counts_names_and_values_and_nothing_is_cut_off() {
        for (length, limit, fits) in [
            (1_000, 1_000, false),
            (1_000, 1_100, true),
            (28 << 10, 64 << 10, true),
            (29 << 10, 64 << 10, false),
        ] {
            let cookies = split(NAME, &text("a", length), ATTRIBUTES, limit);
            assert_eq!(cookies.is_ok(), fits, "{length} {limit}");
            if let Ok(cookies) = cookies {
                assert!(pairs(&cookies).join("; ").len() <= limit);
            }
        }
        let error = split(NAME, &text("a", 7_000), ATTRIBUTES, 6_144);
        assert_eq!(error.expect_err("too large").limit, 6_144);
    }

    #[test]
    fn cve_2026_25748_parts_of_different_sessions_are_never_put_together() {
        let old = split(NAME, &text("oldoldol", 12_000), ATTRIBUTES, 32 << 10).expect("fits");
        let new = split(NAME, &text("newnewne", 8_000), ATTRIBUTES, 32 << 10).expect("fits");
        let (old, new) = (pairs(&old), pairs(&new));
        assert_eq!((old.len(), new.len()), (4, 3));
        // The last part of the old one is left over.
        let left_over = [new.join("; "), old[3].clone()];
        assert_eq!(read(&left_over), [text("newnewne", 8_000)]);
        let mixed = [new[0].clone(), old[1].clone(), new[2].clone()];
        assert_eq!(read(&mixed), [""; 0]);
        assert_eq!(read(&new[..2]), [""; 0], "one is missing");
        // Those of another path or domain stand beside.
        let both = [old.join("; "), new.join("; ")];
        assert_eq!(
            read(&both),
            [text("oldoldol", 12_000), text("newnewne", 8_000)]
        );
    }

    #[test]
    fn ap_2026_04_what_is_read_of_a_request_is_bounded() {
        for bad in [
            "",
            "1.",
            "1.1",
            "1.1.",
            "1.1.short",
            "1.0.aaaaaaaa",
            "1.9.aaaaaaaa",
            "2.1.aaaaaaaa",
            "1.2.aaaaaaaa",
            "aaaaaaaa",
        ] {
            assert_eq!(read(&[format!("{NAME}={bad}")]), [""; 0], "{bad:?}");
        }
        let many = format!("{NAME}=1.1.aaaaaaaa; ").repeat(1_000);
        assert_eq!(read(&[many]).len(), MAX_TEXTS);
        let further = format!("{NAME}_1=aaaaaaaa.x; ").repeat(1_000);
        let first = format!("{NAME}=1.2.aaaaaaaa; ").repeat(1_000);
        assert_eq!(read(&[further, first]).len(), MAX_TEXTS);
        let long = format!("{NAME}=1.1.{}", "a".repeat(MAX_TEXT_BYTES + 1));
        assert_eq!(read(&[long]), [""; 0]);
        // One long further part for many first ones.
        let part = format!("{NAME}_1=aaaaaaaa.{}", "x".repeat(20_000));
        let first = format!("{NAME}=1.2.aaaaaaaa; ").repeat(100);
        let read: usize = read(&[part, first]).iter().map(String::len).sum();
        assert!(read <= MAX_READ_BYTES && read > 200_000, "{read}");
    }

    #[test]
    fn ap_2026_04_what_was_never_sealed_is_checked_once_and_not_put_together() {
        let further = format!("{NAME}_1=junkjunk.x; ").repeat(MAX_READ_PARTS);
        let junk = format!("{NAME}=1.2.junkjunk; ");
        let own = format!("{NAME}=1.1.sealedsealed");
        for (junk_before, found) in [(0, 1), (MAX_READ_PARTS - 1, 1), (MAX_READ_PARTS, 0)] {
            let mut headers = HeaderMap::new();
            for line in [&further, &junk.repeat(junk_before), &own] {
                headers.append(header::COOKIE, line.parse().expect("a header"));
            }
            let mut checked = 0;
            let is_sealed = |first: &[u8]| {
                checked += 1;
                first.starts_with(b"sealed")
            };
            let texts: Vec<_> = Sent::read(&headers, NAME).texts(is_sealed).collect();
            assert_eq!(texts.len(), found, "{junk_before}");
            assert!(texts.iter().all(|text| text.joined() == b"sealedsealed"));
            assert_eq!(checked, (junk_before + 1).min(MAX_READ_PARTS));
        }
    }
}
