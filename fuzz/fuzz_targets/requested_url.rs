//! A URL is read as a browser reads it, whole or in parts, or it is refused.
#![no_main]

use authentik_proxy::model::{Authority, RequestedUrl, Scheme};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str)| {
    let (text, target) = input;
    if let Ok(url) = RequestedUrl::parse(text) {
        let again = url.to_string();
        let again = RequestedUrl::parse(&again).expect("what was read can be read again");
        assert_eq!((url.path(), url.query()), (again.path(), again.query()));
        assert_eq!(url.authority(), again.authority());
    }
    if let Ok(authority) = Authority::parse(text)
        && let Ok(url) = RequestedUrl::of_parts(Scheme::Https, authority, target)
    {
        let whole = url.to_string();
        let whole = RequestedUrl::parse(&whole).expect("parts and whole agree");
        assert_eq!(whole.authority(), authority, "the target cannot change the host");
        assert_eq!(whole.path(), url.path());
    }
});
