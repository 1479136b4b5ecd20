//! Framing of request bodies (RFC 9112 section 6).
//!
//! hyper rejects requests with two lengths, a length that is not a number, or a transfer coding that
//! does not end with `chunked`. If a request has both `Content-Length` and `Transfer-Encoding`, it
//! uses the latter, drops the length and closes the connection afterwards, so that nothing stricter
//! can be decided here.

use http::HeaderMap;
use http::header::TRANSFER_ENCODING;

/// Whether the body has no transfer coding, or only `chunked`. Another coding before
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
