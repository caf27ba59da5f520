//! What the fuzz targets share.

use std::sync::Arc;

use ocicore::SizeLimits;
use repack::{Cx, Error, Tree, tar};

/// Bounds that keep one run short.
pub fn limits() -> SizeLimits {
    SizeLimits::default()
        .with_entries(100)
        .with_unpacked(1 << 20)
}

/// The bytes as a tar; `None` where it is refused.
pub fn index_tar(bytes: Vec<u8>) -> Result<Tree, Error> {
    tar::index(
        &Cx::default(),
        Arc::new(bytes::Bytes::from(bytes)),
        &limits(),
    )
}

/// The bytes with right checksums where headers may be, and an end: no fuzzer guesses a sum.
pub fn with_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut tar = bytes.to_vec();
    tar.resize(tar.len().next_multiple_of(512), 0);
    let mut at = 0;
    while let Some(block) = tar.get_mut(at..at + 512) {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let size = str::from_utf8(&block[124..135]).ok();
        let size = size.and_then(|size| usize::from_str_radix(size, 8).ok());
        at += 512 + size.unwrap_or(0).next_multiple_of(512);
    }
    tar.extend([0; 1024]);
    tar
}
