#![no_main]

use ocicore::{MediaType, RawManifest, sniff_media_type};

// The bytes stay, whatever they are, and nothing is an image and an index at once.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for media_type in [MediaType::OCI_MANIFEST, MediaType::DOCKER_LIST] {
        let manifest = RawManifest::new(media_type, bytes.to_vec());
        assert_eq!(manifest.bytes(), bytes);
        if let Ok(links) = manifest.links() {
            assert!(links.config.is_none() || links.manifests.is_empty());
        }
    }
    let _ = sniff_media_type(bytes);
});
