#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| ociregistry::fuzz::location(text));
