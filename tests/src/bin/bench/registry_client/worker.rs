//! What runs in processes of its own: our client, oci-client, and our server.

use std::{ffi::OsString, fs, path::Path, sync::Arc};

use futures_util::{StreamExt, TryStreamExt, stream};
use oci_client::{
    client::{ClientConfig, ClientProtocol},
    secrets::RegistryAuth,
};
use ocicore::{
    Cx, Descriptor, ImageSource, ImageStore, Layout, MediaType, Name, RawManifest, Repositories,
    copy,
};
use ociregistry::Registry;
use registryd::storage::FsStorage;
use tokio::io::AsyncWriteExt;
use tokio_util::io::ReaderStream;

use super::{
    floor,
    image::{TAG, tag},
};
use crate::Result;

/// First argument of these processes.
pub(crate) const WORKER: &str = "__registry-client";

/// Blobs that oci-client moves at once, which has no number of its own: as many as skopeo.
const JOBS: usize = 6;

/// Bytes that oci-client is given at once, as many as our own files give.
const BUFFER: usize = 256 << 10;

/// Does one contender's work.
pub(crate) fn work(args: &[OsString]) -> Result<()> {
    let words: Vec<&str> = args.iter().filter_map(|arg| arg.to_str()).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match words[..] {
            ["idle"] => Ok(()),
            ["serve", storage, address] => serve(storage, address).await,
            ["push", layout, to] => {
                let to = Registry::builder().build().repository(&to.parse()?)?;
                copy_all(Arc::new(Layout::open(layout)?), to).await
            }
            ["pull", from, layout] => {
                let from = Registry::builder().build().repository(&from.parse()?)?;
                copy_all(from, Arc::new(Layout::open_or_create(layout)?)).await
            }
            ["push-oci-client", layout, to] => push_by_peer(&Layout::open(layout)?, to).await,
            ["pull-oci-client", from, folder] => pull_by_peer(from, Path::new(folder)).await,
            ["pull-floor", from, folder] => floor::pull(from, Path::new(folder)),
            _ => Err(format!("unknown work: {words:?}").into()),
        }
    })
}

async fn serve(storage: &str, address: &str) -> Result<()> {
    let storage = FsStorage::open(storage)?;
    let _server = registryd::Server::builder(storage).bind(address).await?;
    // Until it is killed.
    std::future::pending().await
}

async fn copy_all(from: Arc<dyn ImageStore>, to: Arc<dyn ImageStore>) -> Result<()> {
    let cx = Cx::default();
    let root = copy::Root::same(Name::Tag(tag()));
    let options = copy::Options::default().without_referrers();
    let plan = copy::plan(&cx, &*from, &*to, &[root], &options).await?;
    copy::run(&cx, plan, from, to).await?;
    Ok(())
}

fn peer() -> oci_client::Client {
    oci_client::Client::new(ClientConfig {
        protocol: ClientProtocol::Http,
        use_monolithic_push: true,
        ..Default::default()
    })
}

/// As a program on oci-client would push a layout: each file as a stream, in one request.
async fn push_by_peer(from: &Layout, to: &str) -> Result<()> {
    let client = peer();
    let image: oci_client::Reference = format!("{to}:{TAG}").parse()?;
    client
        .store_auth_if_needed(image.resolve_registry(), &RegistryAuth::Anonymous)
        .await;
    let cx = Cx::default();
    let root = from.manifest(&cx, &Name::Tag(tag())).await?;
    let mut manifests = Vec::new();
    for child in root.links()?.manifests {
        manifests.push(from.manifest(&cx, &Name::Digest(*child.digest())).await?);
    }
    let mut blobs = Vec::new();
    for manifest in manifests.iter().chain([&root]) {
        blobs.extend(manifest.links()?.blobs().cloned());
    }
    let push = |descriptor: Descriptor| {
        let (client, image) = (&client, &image);
        let digest = *descriptor.digest();
        let path = (from.path()).join(format!("blobs/{}/{}", digest.algorithm(), digest.hex()));
        async move {
            let file = tokio::fs::File::open(path).await?;
            let content = ReaderStream::with_capacity(file, BUFFER).map_err(Into::into);
            client
                .push_blob_stream(image, content, &digest.to_string(), Some(descriptor.size()))
                .await
        }
    };
    stream::iter(blobs.into_iter().map(push))
        .buffer_unordered(JOBS)
        .try_for_each(|_| std::future::ready(Ok(())))
        .await?;
    let put = |manifest: RawManifest, image: oci_client::Reference| {
        let client = &client;
        async move {
            let media_type = manifest.media_type().as_str().parse()?;
            client
                .push_manifest_raw(&image, manifest.bytes().clone(), media_type)
                .await?;
            Result::Ok(())
        }
    };
    let children = manifests.into_iter().map(|manifest| {
        let image = image.clone_with_digest(manifest.digest().to_string());
        put(manifest, image)
    });
    stream::iter(children)
        .buffer_unordered(JOBS)
        .try_for_each(|()| std::future::ready(Ok(())))
        .await?;
    put(root, image.clone()).await
}

/// As a program on oci-client would pull: each blob as a verified stream into a file.
async fn pull_by_peer(from: &str, folder: &Path) -> Result<()> {
    let client = peer();
    let image: oci_client::Reference = format!("{from}:{TAG}").parse()?;
    fs::create_dir_all(folder)?;
    let root = get(&client, &image).await?;
    let children = root.links()?.manifests.into_iter().map(|child| {
        let image = image.clone_with_digest(child.digest().to_string());
        let client = &client;
        async move { get(client, &image).await }
    });
    let manifests: Vec<_> = stream::iter(children).buffered(JOBS).try_collect().await?;
    let mut blobs = Vec::new();
    for manifest in manifests.iter().chain([&root]) {
        fs::write(
            folder.join(manifest.digest().hex()),
            manifest.bytes().as_ref(),
        )?;
        blobs.extend(manifest.links()?.blobs().cloned());
    }
    let pull = |descriptor: Descriptor| {
        let (client, image) = (&client, &image);
        let descriptor = ociregistry::interop::to_descriptor(&descriptor);
        async move {
            let descriptor = descriptor?;
            let mut file =
                tokio::fs::File::create(folder.join(descriptor.digest.replace(':', "-"))).await?;
            let mut content = client.pull_blob_stream(image, &descriptor).await?;
            while let Some(chunk) = content.next().await {
                file.write_all(&chunk?).await?;
            }
            file.flush().await?;
            Result::Ok(())
        }
    };
    stream::iter(blobs.into_iter().map(pull))
        .buffer_unordered(JOBS)
        .try_for_each(|()| std::future::ready(Ok(())))
        .await
}

async fn get(client: &oci_client::Client, image: &oci_client::Reference) -> Result<RawManifest> {
    let types = [
        MediaType::OCI_MANIFEST.to_string(),
        MediaType::OCI_INDEX.to_string(),
    ];
    let accepted: Vec<&str> = types.iter().map(String::as_str).collect();
    let (bytes, _) = client
        .pull_manifest_raw(image, &RegistryAuth::Anonymous, &accepted)
        .await?;
    let media_type = ocicore::sniff_media_type(&bytes)?;
    Ok(RawManifest::new(media_type, bytes))
}
