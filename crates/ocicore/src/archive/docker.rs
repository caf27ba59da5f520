use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use super::{
    Archive,
    index::{Index, ZSTD},
};
use crate::{
    Cx, Descriptor, MediaType, RawManifest, Result,
    descriptor::null_is_empty,
    image::{Config, canonical},
};

/// An image in `manifest.json` (moby, `image/tarexport`).
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    #[serde(default, deserialize_with = "null_is_empty")]
    repo_tags: Vec<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    layers: Vec<String>,
}

/// Reads what `docker save` writes. The format has no manifests, so one is made for each image.
pub(super) fn read(cx: &Cx, index: &Index) -> Result<Archive> {
    let bytes = index.bytes("manifest.json", index.limits.config())?;
    let items: Vec<Item> = serde_json::from_slice(&bytes)
        .map_err(|error| index.fault(&format!("`manifest.json`: {error}")))?;
    let mut archive = Archive {
        path: index.path.clone(),
        roots: Vec::new(),
        manifests: BTreeMap::new(),
        blobs: BTreeMap::new(),
        made: BTreeMap::new(),
    };
    for item in items {
        let manifest = add_image(cx, index, &mut archive, &item)?;
        let root = manifest.descriptor().clone();
        archive.manifests.insert(*manifest.digest(), manifest);
        if item.repo_tags.is_empty() {
            archive.roots.push((None, root));
        } else {
            let names = item
                .repo_tags
                .into_iter()
                .map(|name| (Some(name), root.clone()));
            archive.roots.extend(names);
        }
    }
    Ok(archive)
}

fn add_image(cx: &Cx, index: &Index, archive: &mut Archive, item: &Item) -> Result<RawManifest> {
    let bytes = bytes::Bytes::from(index.bytes(&item.config, index.limits.config())?);
    let config = Descriptor::of(MediaType::OCI_CONFIG, &bytes);
    let parsed = Config::parse(bytes.clone(), &config)?;
    archive.made.insert(*config.digest(), bytes);
    if parsed.diff_ids().len() != item.layers.len() {
        return Err(index.fault(&format!(
            "`{}` has {} diff_ids for {} layers",
            item.config,
            parsed.diff_ids().len(),
            item.layers.len()
        )));
    }
    let mut layers = Vec::new();
    for (name, diff_id) in item.layers.iter().zip(parsed.diff_ids()) {
        let range = index.range(name)?;
        let magic = index.magic(range.clone())?;
        let (media_type, digest) = if magic.starts_with(&[0x1f, 0x8b]) {
            (MediaType::OCI_LAYER_GZIP, index.digest(cx, range.clone())?)
        } else if magic == ZSTD {
            (MediaType::OCI_LAYER_ZSTD, index.digest(cx, range.clone())?)
        } else {
            // Not compressed, so the config knows its digest; who reads it checks that.
            (MediaType::OCI_LAYER, *diff_id)
        };
        layers.push(Descriptor::new(media_type, digest, range.end - range.start));
        archive.blobs.insert(digest, range);
    }
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST,
        "config": config, "layers": layers,
    });
    Ok(RawManifest::new(
        MediaType::OCI_MANIFEST,
        canonical(&manifest),
    ))
}
