//! Images between an engine and the stores of this workspace, as docker-archives: it is the one
//! format that Docker 20.10 and Podman read and write.

use std::{
    io::{self, Write},
    path::Path,
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt, future, stream};
use ocicore::{
    Cx, ImageSource, Name, Platform, Reference, SizeLimits,
    archive::{self, Archive, AtomicFile},
};
use tokio::sync::mpsc;

use crate::{
    ContainerEngine, Error, Result,
    spec::{ImageId, ImageName},
};

/// Bytes of one piece on its way.
const PIECE: usize = 256 << 10;
/// Pieces that wait for the engine.
const PIECES: usize = 8;

type Piece = ocicore::Result<Bytes>;

/// Loads an image of a source into an engine under these names: of an index, the one for the
/// engine's platform. It is streamed; nothing is written to disk here.
///
/// # Errors
/// Of class `NotFound` if the source does not have it; the source's and the engine's.
pub async fn load(
    cx: &Cx,
    engine: &dyn ContainerEngine,
    source: Arc<dyn ImageSource>,
    image: &Name,
    names: &[Reference],
) -> Result<ImageId> {
    let platform = engine.version(cx).await?.platform;
    load_for(cx, engine, source, image, names, &platform).await
}

/// As [`load`], for another platform.
///
/// # Errors
/// As [`load`].
pub async fn load_for(
    cx: &Cx,
    engine: &dyn ContainerEngine,
    source: Arc<dyn ImageSource>,
    image: &Name,
    names: &[Reference],
    platform: &Platform,
) -> Result<ImageId> {
    let (sender, receiver) = mpsc::channel::<Piece>(PIECES);
    let roots = [archive::Root::new(
        image.clone(),
        names.iter().map(Reference::to_string),
    )];
    let writer = Pieces {
        sender: sender.clone(),
        buffer: BytesMut::with_capacity(PIECE),
    };
    let writing = async {
        let written = archive::write_docker(cx, source, &roots, platform, writer).await;
        let written = match written {
            Ok(mut writer) => cx.blocking(move |_| writer.flush()).await.map_err(|error| {
                ocicore::Error::io("write", "an archive", "the container engine", error)
            }),
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            // Without this, the engine would take the end of the stream for that of the archive.
            // If it has gone, it has an error of its own.
            drop(sender.send(Err(error)).await);
        }
        drop(sender);
    };
    let content = stream::unfold(receiver, |mut receiver| async move {
        let piece = receiver.recv().await?;
        Some((piece, receiver))
    });
    let loading = engine.load_archive(cx, content.boxed());
    let ((), loaded) = future::join(writing, loading).await;
    let loaded = loaded?;
    let name = match names.first() {
        Some(name) => ImageName::Reference(name.clone()),
        None => loaded.into_iter().next().ok_or_else(|| Error::Protocol {
            action: "load",
            subject: image.to_string(),
            fault: "it names no image".to_owned(),
        })?,
    };
    Ok(engine.inspect_image(cx, &name).await?.id)
}

/// Saves images of an engine as a docker-archive, and opens that as a source. The file appears as a
/// whole or not at all.
///
/// # Errors
/// If an image is missing, or the file cannot be written; as [`archive::open`].
pub async fn save(
    cx: &Cx,
    engine: &dyn ContainerEngine,
    images: &[ImageName],
    path: &Path,
    limits: &SizeLimits,
) -> Result<Archive> {
    let mut content = engine.save_archive(cx, images).await?;
    let mut file = AtomicFile::create(path)?;
    let task = cx.task("save", None);
    let failed = |error| ocicore::Error::io("write", path.display(), "the file system", error);
    while let Some(piece) = content.try_next().await? {
        task.add(piece.len() as u64)?;
        let (back, written) = cx
            .blocking(move |_| {
                let written = file.as_file().write_all(&piece);
                (file, written)
            })
            .await;
        file = back;
        written.map_err(failed)?;
    }
    cx.blocking(move |_| file.commit()).await?;
    Ok(archive::open(cx, path, limits).await?)
}

/// Writes into a channel, on a thread for blocking work.
struct Pieces {
    sender: mpsc::Sender<Piece>,
    buffer: BytesMut,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(PIECE - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..n]);
        if self.buffer.len() == PIECE {
            self.flush()?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = self.buffer.split().freeze();
        self.buffer.reserve(PIECE);
        // Nobody reads any more: the engine said no.
        self.sender
            .blocking_send(Ok(piece))
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}
