#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ociregistry::fuzz::error_body(bytes));
