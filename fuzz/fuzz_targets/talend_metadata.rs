#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| talend::nexus::fuzz::metadata(bytes));
