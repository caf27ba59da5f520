#![no_main]

use talend::nexus::{Checksum, ChecksumAlgorithm};

// Whatever lies in a checksum file: none, or digits that are read back.
libfuzzer_sys::fuzz_target!(|text: &str| {
    for algorithm in ChecksumAlgorithm::ALL {
        let Some(sum) = Checksum::parse(algorithm, text) else {
            continue;
        };
        assert_eq!(sum.algorithm(), algorithm);
        assert!(text.to_ascii_lowercase().contains(sum.hex()));
        assert_eq!(Checksum::parse(algorithm, &format!("{sum}  load-0.1.zip\n")), Some(sum));
    }
});
