#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| res_planfix_fuzz::run("link", input));
