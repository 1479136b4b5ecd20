//! How the end of a request's body is found (RFC 9112 section 6).
//!
//! hyper refuses what has two lengths, a length that is no number, or a transfer coding that does
//! not end with `chunked`. Of a request with a length and chunks it believes the chunks, drops the
//! length and closes the connection afterwards; it leaves no trace of the length, so that nothing
//! stricter can be decided here.

use http::HeaderMap;
use http::header::TRANSFER_ENCODING;

/// Whether the body is in no transfer coding, or in chunks and nothing else. Another coding before
/// `chunked`, as in `gzip, chunked`, would reach an application undecoded and unannounced.
#[must_use]
pub fn is_understood(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).into_iter();
    let Some(coding) = codings.next() else {
        return true;
    };
    codings.next().is_none()
        && coding
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(b"chunked")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ap_2026_06_chunks_are_the_only_transfer_coding() {
        for (lines, expected) in [
            (&[][..], true),
            (&["chunked"], true),
            (&["Chunked"], true),
            (&["chunked\t"], true),
            (&["gzip, chunked"], false),
            (&["gzip", "chunked"], false),
            (&["identity, chunked"], false),
            (&["chunked, chunked"], false),
            (&["chunked", "chunked"], false),
            (&["xchunked"], false),
            (&[",chunked"], false),
            (&[""], false),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(TRANSFER_ENCODING, line.parse().expect("a value"));
            }
            assert_eq!(is_understood(&headers), expected, "{lines:?}");
        }
    }
}
