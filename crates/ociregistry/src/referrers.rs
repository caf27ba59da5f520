//! Manifests that refer to another one (distribution-spec §Listing Referrers), also at registries
//! that keep no list of them (§Referrers Tag Schema).

use bytes::Bytes;
use ocicore::{Class, Cx, Descriptor, Digest, MediaType, Name, RawManifest, Tag};
use reqwest::{
    Method,
    header::{ACCEPT, HeaderValue},
};
use serde_json::json;
use url::Url;

use crate::{
    Error, Result,
    auth::Scopes,
    hosts::Site,
    list::{SMALLEST_PAGE, read_page},
    retry::Attempts,
    store::RegistryStore,
    wire::Incoming,
};

/// What refers to `subject` there, of all types or of one; none if no list is kept there.
pub(crate) async fn list(
    store: &RegistryStore,
    cx: &Cx,
    site: &Site,
    subject: &Digest,
    artifact_type: Option<&MediaType>,
) -> Result<Option<Vec<Descriptor>>> {
    let mut all = list_all(store, cx, site, subject, artifact_type).await?;
    // A registry need not filter (§Listing Referrers, `OCI-Filters-Applied`).
    if let Some(all) = &mut all {
        all.retain(|entry| artifact_type.is_none() || entry.artifact_type() == artifact_type);
    }
    Ok(all)
}

async fn list_all(
    store: &RegistryStore,
    cx: &Cx,
    site: &Site,
    subject: &Digest,
    artifact_type: Option<&MediaType>,
) -> Result<Option<Vec<Descriptor>>> {
    let (mut all, mut is_first) = (Vec::new(), true);
    // The bound is for the whole list, however many pages it has, for it is held as a whole.
    let limit = store.registry.0.limits.config();
    let mut room = limit;
    let mut url = site.endpoint.referrers(&site.path, subject);
    if let Some(artifact_type) = artifact_type {
        url.query_pairs_mut()
            .append_pair("artifactType", artifact_type.as_str());
    }
    let mut next = Some(url);
    while let Some(url) = next {
        let read = ask(store, cx, site, url, limit).await;
        let is_first = std::mem::take(&mut is_first);
        let body;
        (next, body) = match read {
            // Who knows no referrers says that the page is missing; any other error is one.
            Err(Error::Answer(answer))
                if is_first && matches!(answer.status(), 404 | 405 | 501) =>
            {
                let list = fallback(store, cx, site, subject).await?;
                return list.map(|list| entries(store, &list)).transpose();
            }
            page => page?,
        };
        let taken = (body.len() as u64).max(SMALLEST_PAGE);
        room = room.checked_sub(taken).ok_or_else(|| {
            let what = format!("the list of referrers of `{subject}` in `{}`", store.name);
            Error::Store(ocicore::Error::Limit { what, limit })
        })?;
        let page = RawManifest::new(MediaType::OCI_INDEX, body);
        all.extend(entries(store, &page)?);
    }
    Ok(Some(all))
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
    edit(store, cx, subject.digest(), &Edit::Add(Box::new(entry))).await
}

/// What a manifest refers to, and its entry in the list of that; none if it is not there, or is
/// none that could refer to something.
pub(crate) async fn entry_of(
    store: &RegistryStore,
    cx: &Cx,
    name: &Name,
) -> Result<Option<(Digest, Descriptor)>> {
    match store.get(cx, &store.home, name).await {
        Ok(manifest) => {
            let subject = manifest.links().ok().and_then(|links| links.subject);
            Ok(subject.and_then(|subject| {
                let entry = manifest.as_referrer_of(subject.digest())?;
                Some((*subject.digest(), entry))
            }))
        }
        // Whether it can be deleted is for the registry to say.
        Err(error)
            if matches!(
                error.class(),
                Class::NotFound | Class::Invalid | Class::Exhausted
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Takes a manifest that is to be deleted from the list that clients keep of its subject
/// (§Deleting Manifests). Where there is none, the registry keeps its own.
pub(crate) async fn forget(
    store: &RegistryStore,
    cx: &Cx,
    subject: &Digest,
    entry: &Descriptor,
) -> Result<()> {
    edit(store, cx, subject, &Edit::Remove(*entry.digest())).await
}

/// Puts a manifest that is not deleted after all back on the list, if there is one.
pub(crate) async fn restore(
    store: &RegistryStore,
    cx: &Cx,
    subject: &Digest,
    entry: Descriptor,
) -> Result<()> {
    edit(store, cx, subject, &Edit::Restore(Box::new(entry))).await
}

/// A change of a list.
#[derive(Debug)]
enum Edit {
    Add(Box<Descriptor>),
    /// Adds to a list that is there, but begins none.
    Restore(Box<Descriptor>),
    Remove(Digest),
}

impl Edit {
    /// What the list is afterwards; none if it stays as it is. Whatever else is in its JSON stays.
    fn apply(&self, list: Option<&RawManifest>) -> Result<Option<RawManifest>, ocicore::Error> {
        let known = match list {
            Some(list) => list.links()?.manifests,
            None => Vec::new(),
        };
        let is_known = |digest| known.iter().any(|known| known.digest() == digest);
        let mut json = match list.map(|list| serde_json::from_slice(list.bytes())) {
            Some(Ok(json)) => json,
            _ => json!({"schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": []}),
        };
        let Some(entries) = json["manifests"].as_array_mut() else {
            return Ok(None);
        };
        match self {
            Self::Restore(_) if list.is_none() => return Ok(None),
            Self::Add(entry) | Self::Restore(entry) if !is_known(entry.digest()) => {
                entries.push(json!(entry));
            }
            Self::Remove(digest) if is_known(digest) => {
                let text = digest.to_string();
                entries.retain(|entry| entry["digest"].as_str() != Some(&text));
            }
            _ => return Ok(None),
        }
        Ok(Some(RawManifest::new(
            MediaType::OCI_INDEX,
            json.to_string(),
        )))
    }
}

/// Reads, changes and writes a list: one at a time within this program. Nothing guards it from
/// other programs, for the API knows no condition of a `PUT`; so it is read again after it was
/// written, and changed again if somebody else has just written what they had read before. Who
/// reads before and writes after all this still wins.
async fn edit(store: &RegistryStore, cx: &Cx, subject: &Digest, edit: &Edit) -> Result<()> {
    let _turn = store.registry.0.referrers.lock().await;
    let name = Name::Tag(tag_of(subject)?);
    let mut attempts = Attempts::new(&store.registry.0.retry);
    loop {
        let list = fallback(store, cx, &store.home, subject).await?;
        let after = edit.apply(list.as_ref());
        let Some(after) = after.map_err(|error| Error::content(&store.name, error))? else {
            return Ok(());
        };
        store.put(cx, &after, &name).await?;
        let now = fallback(store, cx, &store.home, subject).await?;
        if now.is_some_and(|now| now.digest() == after.digest()) {
            return Ok(());
        }
        let (place, tag) = (store.name.to_string(), name.to_string());
        let lost = Error::Contended { place, tag };
        store.registry.0.pause(cx, &mut attempts, lost).await?;
    }
}

async fn ask(
    store: &RegistryStore,
    cx: &Cx,
    site: &Site,
    url: Url,
    limit: u64,
) -> Result<(Option<Url>, Bytes)> {
    let scopes = Scopes::pull(&site.path);
    let mut call = store.call(site, Method::GET, url, scopes, &[200]);
    let index = HeaderValue::from_static("application/vnd.oci.image.index.v1+json");
    call.headers.insert(ACCEPT, index);
    read_page(&store.registry.0, cx, &call, limit).await
}

/// The list that clients keep under a tag; none if there is none.
async fn fallback(
    store: &RegistryStore,
    cx: &Cx,
    site: &Site,
    subject: &Digest,
) -> Result<Option<RawManifest>> {
    let name = Name::Tag(tag_of(subject)?);
    match store.get(cx, site, &name).await {
        Ok(index) => Ok(Some(index)),
        Err(Error::Answer(answer)) if answer.is_missing() => Ok(None),
        Err(error) => Err(error),
    }
}

fn entries(store: &RegistryStore, index: &RawManifest) -> Result<Vec<Descriptor>> {
    let links = index.links();
    Ok(links
        .map_err(|error| Error::content(&store.name, error))?
        .manifests)
}

/// `ALGORITHM-ENCODED` with at most 32 and 64 characters (§Referrers Tag Schema).
pub(crate) fn tag_of(subject: &Digest) -> Result<Tag> {
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
