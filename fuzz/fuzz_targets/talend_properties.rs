#![no_main]

use talend::properties::{self, Properties};

// Whatever the bytes are: properties or a fault; and what is written is read back.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(found) = Properties::parse(bytes) else {
        return;
    };
    let written: Vec<String> = found
        .iter()
        .map(|property| properties::escape(&property.key, &property.value))
        .collect();
    let again = Properties::parse(written.join("\r\n").as_bytes()).expect("our own lines");
    let pairs = |all: &Properties| -> Vec<(String, String)> {
        all.iter()
            .map(|property| (property.key.clone(), property.value.clone()))
            .collect()
    };
    assert_eq!(pairs(&again), pairs(&found));
});
