#![no_main]

use std::{io::Write, sync::Arc};

use flate2::{Compression, write::GzEncoder};
use repack::{Cx, Error, Tree, tar};

// A tar that is cut into gzip members anywhere is the tar; damaged, it is an error or still the tar.
libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let [piece, low, high, damage, tail, rest @ ..] = input else {
        return;
    };
    let (tail, bytes) = rest.split_at(rest.len().min(usize::from(*tail)));
    let plain = gantry_fuzz::with_checksums(bytes);
    // From one member to some hundreds, most of them empty or cut within a header.
    let pieces = plain.chunks(usize::from(*piece) * 64 + 1);
    let mut packed: Vec<u8> = pieces.take(64).flat_map(member).collect();
    let taken = (usize::from(*piece) * 64 + 1).saturating_mul(64);
    packed.extend(member(plain.get(taken..).unwrap_or_default()));
    let at = usize::from(u16::from_le_bytes([*low, *high])) % packed.len();
    packed[at] ^= damage;
    packed.extend(tail);
    let intact = *damage == 0 && tail.is_empty();
    let expected = gantry_fuzz::index_tar(plain);
    match (index(packed), expected) {
        (Ok(tree), Ok(expected)) => {
            // A header's time or name is not covered by the sums.
            assert_eq!(tree.listing().to_string(), expected.listing().to_string());
        }
        (Err(error), Ok(_)) => assert!(!intact, "{error}"),
        // A damaged magic makes it something else, which is a tar only by its checksum.
        (Ok(_), Err(error)) => assert!(!intact, "{error}"),
        (Err(_), Err(_)) => {}
    }
});

fn member(piece: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(piece).expect("memory");
    encoder.finish().expect("memory")
}

fn index(bytes: Vec<u8>) -> Result<Tree, Error> {
    let source = Arc::new(bytes::Bytes::from(bytes));
    tar::index(&Cx::default(), source, &gantry_fuzz::limits())
}
