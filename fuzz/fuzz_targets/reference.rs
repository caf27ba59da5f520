#![no_main]

use ocicore::Reference;

// What is parsed is written so that it is parsed as the same.
libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(reference) = text.parse::<Reference>() {
        assert_eq!(
            reference.to_string().parse::<Reference>().ok(),
            Some(reference)
        );
    }
});
