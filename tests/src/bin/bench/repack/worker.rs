//! What contenders without a program of their own do, each in its own process.

use std::{
    ffi::OsString,
    fs,
    io::{self, BufReader, BufWriter, Read, Write},
    path::Path,
};

use ocicore::{Cx, SizeLimits};
use repack::{extract, into_layer, layer};
use sha2::{Digest as _, Sha256};

use crate::Result;

/// First argument of such a process.
pub(crate) const WORKER: &str = "__repack";

pub(crate) fn work(args: &[OsString]) -> Result<()> {
    let [what, from, to] = args else {
        return Err("expected WHAT FROM TO".into());
    };
    let (from, to) = (Path::new(from), Path::new(to));
    match what.to_str() {
        Some("zip-tar-flate2") => zip_tar_flate2(from, to),
        Some("tar-unpack") => {
            let layer = BufReader::new(fs::File::open(from)?);
            let mut archive = tar::Archive::new(flate2::bufread::MultiGzDecoder::new(layer));
            Ok(archive.unpack(to)?)
        }
        Some("extract") => {
            let cx = Cx::default();
            let tree = repack::tar::open(&cx, from, &SizeLimits::default())?;
            let options = extract::Options::default().with_durability(extract::Durability::None);
            Ok(extract::extract(&cx, &tree, &options, to)?)
        }
        Some("tar2layer") => {
            let cx = Cx::default();
            let tree = repack::tar::open(&cx, from, &SizeLimits::default())?;
            into_layer(&cx, &tree, &layer::Options::default(), to)?;
            Ok(())
        }
        _ => Err("not known".into()),
    }
}

/// What a Rust program without `repack` would do: inflate, write a tar, deflate, hash both.
fn zip_tar_flate2(zip: &Path, out: &Path) -> Result<()> {
    let mut archive = zip::ZipArchive::new(fs::File::open(zip)?)?;
    let file = Hashed {
        to: BufWriter::new(fs::File::create(out)?),
        hash: Sha256::new(),
    };
    let gzip = flate2::write::GzEncoder::new(file, flate2::Compression::default());
    let mut tar = tar::Builder::new(Hashed {
        to: gzip,
        hash: Sha256::new(),
    });
    for n in 0..archive.len() {
        let mut entry = archive.by_index(n)?;
        let name = entry.enclosed_name().ok_or("a bad name")?;
        let mut header = tar::Header::new_gnu();
        header.set_mode(entry.unix_mode().unwrap_or(0o644) & 0o777);
        header.set_mtime(1);
        if entry.is_dir() {
            header.set_entry_type(tar::EntryType::Directory);
            header.set_size(0);
            tar.append_data(&mut header, name, io::empty())?;
        } else {
            header.set_size(entry.size());
            tar.append_data(&mut header, name, entry.by_ref())?;
        }
    }
    let Hashed {
        to: gzip,
        hash: diff_id,
    } = tar.into_inner()?;
    let Hashed {
        to: mut file,
        hash: digest,
    } = gzip.finish()?;
    file.flush()?;
    println!("{:x?} {:x?}", digest.finalize(), diff_id.finalize());
    Ok(())
}

struct Hashed<W> {
    to: W,
    hash: Sha256,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.to.write(bytes)?;
        self.hash.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
