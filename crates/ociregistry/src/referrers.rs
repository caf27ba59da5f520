//! Manifests that refer to another one (distribution-spec §Listing Referrers), also at registries
//! that keep no list of them (§Referrers Tag Schema).

use ocicore::{Class, Cx, Descriptor, Digest, MediaType, Name, RawManifest, Tag};
use reqwest::{
    Method,
    header::{ACCEPT, HeaderValue},
};
use serde_json::json;
use url::Url;

use crate::{Error, Result, auth::Scopes, list::next_page, store::RegistryStore, wire::Incoming};

/// What refers to `subject`, of all types or of one.
pub(crate) async fn list(
    store: &RegistryStore,
    cx: &Cx,
    subject: &Digest,
    artifact_type: Option<&MediaType>,
) -> Result<Vec<Descriptor>> {
    let mut all = list_all(store, cx, subject, artifact_type).await?;
    // A registry need not filter (§Listing Referrers, `OCI-Filters-Applied`).
    all.retain(|entry| artifact_type.is_none() || entry.artifact_type() == artifact_type);
    Ok(all)
}

async fn list_all(
    store: &RegistryStore,
    cx: &Cx,
    subject: &Digest,
    artifact_type: Option<&MediaType>,
) -> Result<Vec<Descriptor>> {
    let (mut all, mut is_first) = (Vec::new(), true);
    let mut room = store.registry.0.limits.config();
    let mut url = store.home.endpoint.referrers(&store.home.path, subject);
    if let Some(artifact_type) = artifact_type {
        url.query_pairs_mut()
            .append_pair("artifactType", artifact_type.as_str());
    }
    let mut next = Some(url);
    while let Some(url) = next {
        let incoming = ask(store, cx, url).await?;
        // Who knows no referrers says that the page is missing; any other error is one.
        if std::mem::take(&mut is_first) && matches!(incoming.status(), 404 | 405 | 501) {
            return Ok(fallback(store, cx, subject).await?.unwrap_or_default());
        }
        let incoming = incoming.expect(&[200]).await?;
        next = next_page(&store.home.endpoint, &incoming.url, incoming.headers())
            .map_err(|fault| store.fault(fault))?;
        // The bound is for the whole list, however many pages it has.
        let body = incoming.read("the list of referrers", room).await?;
        room = room.saturating_sub((body.len() as u64).max(1024));
        all.extend(entries(&RawManifest::new(MediaType::OCI_INDEX, body))?);
    }
    Ok(all)
}

/// Adds a manifest to the list of its subject, if the registry did not do that by itself, as it
/// tells with `OCI-Subject` (§Pushing Manifests with Subject).
pub(crate) async fn note(
    store: &RegistryStore,
    cx: &Cx,
    manifest: &RawManifest,
    stored: &Incoming,
) -> Result<()> {
    // What cannot be read has no subject that a client could know of.
    let subject = manifest.links().ok().and_then(|links| links.subject);
    let Some(subject) = subject.filter(|_| stored.header("oci-subject").is_none()) else {
        return Ok(());
    };
    let Some(entry) = manifest.as_referrer_of(subject.digest()) else {
        return Ok(());
    };
    // The list is read, changed and written: one at a time, at least within this program.
    let _turn = store.registry.0.referrers.lock().await;
    let mut entries = fallback(store, cx, subject.digest())
        .await?
        .unwrap_or_default();
    if entries.iter().any(|known| known.digest() == entry.digest()) {
        return Ok(());
    }
    entries.push(entry);
    let index = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_INDEX,
        "manifests": entries,
    });
    let index = RawManifest::new(MediaType::OCI_INDEX, index.to_string());
    store
        .put(cx, &index, &Name::Tag(tag_of(subject.digest())?))
        .await?;
    Ok(())
}

async fn ask(store: &RegistryStore, cx: &Cx, url: Url) -> Result<Incoming> {
    let scopes = Scopes::pull(&store.home.path);
    let mut call = store.call(&store.home, Method::GET, url, scopes, &[200, 404, 405, 501]);
    let index = HeaderValue::from_static("application/vnd.oci.image.index.v1+json");
    call.headers.insert(ACCEPT, index);
    store.send(cx, &call).await
}

/// The list that clients keep under a tag; none if there is none.
async fn fallback(
    store: &RegistryStore,
    cx: &Cx,
    subject: &Digest,
) -> Result<Option<Vec<Descriptor>>> {
    match store
        .get(cx, &store.home, &Name::Tag(tag_of(subject)?))
        .await
    {
        Ok(index) => entries(&index).map(Some),
        Err(error) if error.class() == Class::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn entries(index: &RawManifest) -> Result<Vec<Descriptor>> {
    Ok(index.links()?.manifests)
}

/// `ALGORITHM-ENCODED` with at most 32 and 64 characters (§Referrers Tag Schema).
fn tag_of(subject: &Digest) -> Result<Tag> {
    let algorithm: String = subject.algorithm().as_str().chars().take(32).collect();
    let encoded: String = subject.hex().chars().take(64).collect();
    format!("{algorithm}-{encoded}")
        .parse()
        .map_err(Error::Store)
}

#[cfg(test)]
mod tests {
    use ocicore::Algorithm;

    use super::*;

    #[test]
    fn the_tag_of_a_digest_is_short_enough() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(
            tag_of(&Digest::of(b"")).unwrap().to_string(),
            format!("sha256-{hex}")
        );
        let long = tag_of(&Algorithm::Sha512.digest(b"")).unwrap().to_string();
        assert_eq!(long.len(), "sha512-".len() + 64);
    }
}
