#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| netchannel_fuzz::control(input));
