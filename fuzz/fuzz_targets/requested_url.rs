#![no_main]

#[path = "../checks.rs"]
#[expect(dead_code, reason = "each target uses one check")]
mod checks;

libfuzzer_sys::fuzz_target!(|input: (&str, &str)| checks::requested_url(input.0, input.1));
