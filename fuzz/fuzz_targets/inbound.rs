#![no_main]

#[path = "../checks.rs"]
#[expect(dead_code, reason = "each target uses one check")]
mod checks;

libfuzzer_sys::fuzz_target!(|input: (&[u8], &[u8], &[u8])| checks::inbound(
    input.0, input.1, input.2
));
