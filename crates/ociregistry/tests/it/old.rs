//! A registry that keeps no lists of referrers, as docker-registry 2.8.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use ocicore::Digest;

use crate::fake::{Fake, Reply, Request};

const MANIFESTS: &str = "/v2/a/b/manifests/";

/// The manifests of `a/b`, by digest, and what its tags name.
#[derive(Clone, Debug, Default)]
struct Content {
    manifests: BTreeMap<Digest, (String, Vec<u8>)>,
    tags: BTreeMap<String, Digest>,
}

/// Starts one; `refuse` answers a request instead of it.
pub(crate) async fn old_registry(
    refuse: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static,
) -> Fake {
    let content = Arc::new(Mutex::new(Content::default()));
    Fake::new(move |request, _| {
        refuse(request).unwrap_or_else(|| content.lock().unwrap().answer(request))
    })
    .await
}

impl Content {
    fn answer(&mut self, request: &Request) -> Reply {
        let Some(name) = request.target.strip_prefix(MANIFESTS) else {
            return Reply::new(404);
        };
        let digest = match name.parse::<Digest>() {
            Ok(digest) => Some(digest),
            Err(_) => self.tags.get(name).copied(),
        };
        match &*request.method {
            "PUT" => self.put(name, request),
            "DELETE" if !name.contains(':') => Reply::error(400, "DIGEST_INVALID", "no digest"),
            "DELETE" => match digest.and_then(|digest| self.manifests.remove(&digest)) {
                Some(_) => {
                    self.tags.retain(|_, named| Some(*named) != digest);
                    Reply::new(202)
                }
                None => unknown(),
            },
            _ => match digest.and_then(|digest| Some((digest, self.manifests.get(&digest)?))) {
                Some((digest, (media_type, bytes))) => Reply::new(200)
                    .header("content-type", media_type)
                    .header("docker-content-digest", digest)
                    .body(bytes.clone()),
                None => unknown(),
            },
        }
    }

    fn put(&mut self, name: &str, request: &Request) -> Reply {
        let digest = Digest::of(&request.body);
        let media_type = request.header("content-type").unwrap_or_default();
        let stored = (media_type.to_owned(), request.body.clone());
        self.manifests.insert(digest, stored);
        if !name.contains(':') {
            self.tags.insert(name.to_owned(), digest);
        }
        Reply::new(201).header("docker-content-digest", digest)
    }
}

fn unknown() -> Reply {
    Reply::error(404, "MANIFEST_UNKNOWN", "manifest unknown")
}
