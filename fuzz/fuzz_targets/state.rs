#![no_main]

#[path = "../checks.rs"]
#[expect(dead_code, reason = "each target uses one check")]
mod checks;

libfuzzer_sys::fuzz_target!(|text: &str| checks::state(text));
