use std::collections::BTreeMap;

use serde_json::Value;

use super::{Archive, index::Index};
use crate::{Descriptor, Digest, RawManifest, Result, layout::REF_NAME, sniff_media_type};

/// Reads an OCI layout in a tar (image-spec image-layout.md).
pub(super) fn read(index: &Index) -> Result<Archive> {
    let parse = |name: &str, bytes: &[u8]| -> Result<Value> {
        serde_json::from_slice(bytes)
            .map_err(|error| index.fault(&format!("`{name}` is no JSON: {error}")))
    };
    let marker = parse("oci-layout", &index.bytes("oci-layout", 4096)?)?;
    if marker["imageLayoutVersion"] != "1.0.0" {
        return Err(index.fault("expected imageLayoutVersion 1.0.0"));
    }
    let list = parse(
        "index.json",
        &index.bytes("index.json", index.limits.config())?,
    )?;
    let mut roots = Vec::new();
    for entry in list["manifests"].as_array().map_or(&[][..], Vec::as_slice) {
        let root: Descriptor = serde_json::from_value(entry.clone())
            .map_err(|error| index.fault(&format!("`index.json`: {error}")))?;
        let name = root.annotations().get(REF_NAME).cloned();
        let plain = Descriptor::new(root.media_type().clone(), *root.digest(), root.size());
        roots.push((name, plain));
    }
    let mut archive = Archive {
        path: index.path.clone(),
        roots,
        manifests: BTreeMap::new(),
        blobs: BTreeMap::new(),
        made: BTreeMap::new(),
    };
    for (rest, range) in index.below("blobs/") {
        let digest = rest.replacen('/', ":", 1).parse::<Digest>();
        if let Ok(digest) = digest {
            archive.blobs.insert(digest, range.clone());
        }
    }
    let roots: Vec<_> = archive.roots.iter().map(|(_, root)| root.clone()).collect();
    for root in roots {
        add_manifest(index, &mut archive, &root)?;
    }
    add_unlisted(index, &mut archive);
    Ok(archive)
}

/// Reads a manifest and those below it, as far as they are there.
fn add_manifest(index: &Index, archive: &mut Archive, descriptor: &Descriptor) -> Result<()> {
    let digest = descriptor.digest();
    if archive.manifests.contains_key(digest) || !archive.blobs.contains_key(digest) {
        return Ok(());
    }
    let name = format!("blobs/{}/{}", digest.algorithm(), digest.hex());
    let bytes = index.bytes(&name, index.limits.manifest())?;
    let manifest = RawManifest::verified(descriptor.media_type().clone(), bytes, digest)?;
    let children = manifest.links()?.manifests;
    archive.manifests.insert(*digest, manifest);
    for child in &children {
        add_manifest(index, archive, child)?;
    }
    Ok(())
}

/// Referrers are in no list: they are found by what they are.
fn add_unlisted(index: &Index, archive: &mut Archive) {
    let small = |range: &std::ops::Range<u64>| range.end - range.start <= index.limits.manifest();
    let candidates: Vec<_> = archive
        .blobs
        .iter()
        .filter(|(digest, range)| small(range) && !archive.manifests.contains_key(digest))
        .map(|(digest, range)| (*digest, range.clone()))
        .collect();
    for (digest, range) in candidates {
        if !index
            .magic(range)
            .is_ok_and(|magic| magic.first() == Some(&b'{'))
        {
            continue;
        }
        let name = format!("blobs/{}/{}", digest.algorithm(), digest.hex());
        let manifest = index
            .bytes(&name, index.limits.manifest())
            .and_then(|bytes| RawManifest::verified(sniff_media_type(&bytes)?, bytes, &digest));
        match manifest {
            Ok(manifest) => {
                archive.manifests.insert(digest, manifest);
            }
            Err(error) => tracing::debug!(%digest, %error, "no manifest"),
        }
    }
}
