//! Secrets of a build by Podman, which takes them from the context.
//!
//! It moves the files that its parameter `secrets` names out of the context before the first step,
//! so that `COPY . .` does not copy them.

use std::io::{self, Write};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use ocicore::{BoxStream, Error};

use crate::{Result, spec::Secrets};

/// Puts secrets before a context, a tar that may be compressed by gzip; with the list that Podman
/// wants.
pub(super) async fn add(
    secrets: &Secrets,
    mut context: BoxStream<Bytes>,
) -> Result<(BoxStream<Bytes>, String)> {
    let mut first = Bytes::new();
    while first.len() < 2 {
        match context.next().await {
            Some(chunk) => first = [first, chunk?].concat().into(),
            None => break,
        }
    }
    let files = files(secrets)
        .map_err(|error| Error::io("write", "a secret", "the build context", error))?;
    // Archives and gzip members can follow each other, as long as the first has no end mark.
    let before = if first.starts_with(&[0x1f, 0x8b]) {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&files)
            .and_then(|()| gzip.finish())
            .map_err(|error| Error::io("write", "a secret", "the build context", error))?
    } else {
        files
    };
    let list: Vec<String> = secrets
        .keys()
        .enumerate()
        .map(|(n, id)| format!("id={id},src={}", name(n)))
        .collect();
    let list = serde_json::to_string(&list).expect("a list of texts is JSON");
    let start = stream::iter([Ok(Bytes::from(before)), Ok(first)]);
    Ok((start.chain(context).boxed(), list))
}

fn name(n: usize) -> String {
    format!(".dev.gantry.secret.{n}")
}

/// Members of a tar, without its end.
fn files(secrets: &Secrets) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for (n, secret) in secrets.values().enumerate() {
        let content = secret.reveal();
        let mut header = tar::Header::new_ustar();
        header.set_path(name(n))?;
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use futures_util::TryStreamExt;

    use super::*;
    use crate::spec::Secret;

    #[tokio::test]
    async fn secrets_come_before_the_context_compressed_or_not() {
        let secrets = Secrets::from([("a,b".to_owned(), Secret::new("hunter2"))]);
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(1);
        tar.append_data(&mut header, "Dockerfile", &b"x"[..])
            .unwrap();
        let plain = tar.into_inner().unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain).unwrap();
        for (context, compressed) in [(plain, false), (gzip.finish().unwrap(), true)] {
            let chunks: Vec<_> = context
                .chunks(1)
                .map(|c| Ok(Bytes::copy_from_slice(c)))
                .collect();
            let (whole, list) = add(&secrets, stream::iter(chunks).boxed()).await.unwrap();
            assert_eq!(list, r#"["id=a,b,src=.dev.gantry.secret.0"]"#);
            let whole = whole.try_collect::<Vec<_>>().await.unwrap().concat();
            let reader: Box<dyn Read> = if compressed {
                Box::new(flate2::read::MultiGzDecoder::new(io::Cursor::new(whole)))
            } else {
                Box::new(io::Cursor::new(whole))
            };
            let mut archive = tar::Archive::new(reader);
            let names: Vec<String> = archive
                .entries()
                .unwrap()
                .map(|entry| entry.unwrap().path().unwrap().display().to_string())
                .collect();
            assert_eq!(names, [".dev.gantry.secret.0", "Dockerfile"]);
        }
    }
}
