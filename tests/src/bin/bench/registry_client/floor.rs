//! What no client of this machine can be faster than: the system calls, SHA-256, and nothing else.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    sync::Mutex,
};

use ocicore::{Descriptor, RawManifest, Verifier};

use super::image::TAG;
use crate::Result;

/// Threads, each with a connection of its own; with two or six it takes longer.
const THREADS: usize = 4;
/// Bytes that are received, hashed and written at once.
const BUFFER: usize = 512 << 10;

/// Pulls an image: each blob is received, hashed and written by one thread, without a library for
/// HTTP. Nothing is synced, retried, resumed, renamed or limited.
pub(super) fn pull(from: &str, folder: &Path) -> Result<()> {
    let (host, repository) = from.split_once('/').ok_or("no repository")?;
    fs::create_dir_all(folder)?;
    let mut bytes = Vec::new();
    let mut wire = connect(host)?;
    let len = get(
        &mut wire,
        host,
        &format!("/v2/{repository}/manifests/{TAG}"),
    )?;
    (&mut wire).take(len).read_to_end(&mut bytes)?;
    let manifest = RawManifest::new(ocicore::sniff_media_type(&bytes)?, bytes);
    fs::write(folder.join(manifest.digest().hex()), manifest.bytes())?;
    let blobs: Vec<Descriptor> = manifest.links()?.blobs().cloned().collect();
    let left = Mutex::new(blobs.iter());
    let work = || -> Result<()> {
        let mut wire = connect(host)?;
        loop {
            // The lock ends here.
            let next = left.lock().map_err(|_| "a thread is gone")?.next();
            let Some(blob) = next else { return Ok(()) };
            get(
                &mut wire,
                host,
                &format!("/v2/{repository}/blobs/{}", blob.digest()),
            )?;
            let mut file = File::create(folder.join(blob.digest().hex()))?;
            let (mut verifier, mut left) = (Verifier::new(blob), blob.size());
            while left > 0 {
                let here = wire.fill_buf()?;
                let len = here.len().min(usize::try_from(left)?);
                if len == 0 {
                    return Err("the answer broke off".into());
                }
                verifier.update(&here[..len])?;
                file.write_all(&here[..len])?;
                wire.consume(len);
                left -= len as u64;
            }
            verifier.finish()?;
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| scope.spawn(|| work().map_err(|error| error.to_string())))
            .collect();
        for thread in threads {
            thread.join().map_err(|_| "a thread is gone")??;
        }
        Ok(())
    })
}

fn connect(host: &str) -> Result<BufReader<TcpStream>> {
    Ok(BufReader::with_capacity(BUFFER, TcpStream::connect(host)?))
}

/// Asks, and reads the head of the answer; tells the length of its body.
fn get(wire: &mut BufReader<TcpStream>, host: &str, path: &str) -> Result<u64> {
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: {}\r\n\r\n",
        ocicore::MediaType::OCI_MANIFEST
    );
    wire.get_mut().write_all(head.as_bytes())?;
    let mut length = None;
    for line in 0.. {
        let mut text = String::new();
        wire.read_line(&mut text)?;
        let text = text.trim_end();
        if line == 0 && !text.contains(" 200 ") {
            return Err(format!("{path}: {text}").into());
        }
        match text.split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = Some(value.parse()?);
            }
            _ if text.is_empty() => break,
            _ => {}
        }
    }
    length.ok_or_else(|| format!("{path}: no length").into())
}
