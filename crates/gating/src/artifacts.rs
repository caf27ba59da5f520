//! Artifact records: what was uploaded, for the jobs that come after.
//!
//! A record has the shape of Zuul's return value, `{"zuul": {"artifacts": […]}}`, with images as
//! artifacts whose `metadata.type` is `container_image`. Ours have the digest in their metadata,
//! so that promotion can tell whether a tag has moved.

use ocicore::{Digest, Reference, Repository, Tag};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};

use crate::{Error, Fault, Result};

/// What `metadata.type` of an image is.
const CONTAINER_IMAGE: &str = "container_image";
/// What the URL of an image begins with, as skopeo writes it.
const SCHEME: &str = "docker://";

/// An image that lies under a temporary tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    image: Reference,
    temporary: Reference,
    digest: Digest,
}

impl Artifact {
    /// `temporary` is a tag in the repository of `image`, which has a tag, too.
    pub(crate) fn new(image: Reference, temporary: Reference, digest: Digest) -> Self {
        Self {
            image,
            temporary,
            digest,
        }
    }

    /// The image by its final name, with a tag.
    pub fn image(&self) -> &Reference {
        &self.image
    }

    /// Where it lies, under its temporary tag.
    pub fn temporary(&self) -> &Reference {
        &self.temporary
    }

    /// Digest of the manifest that was uploaded.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }
}

/// As it stands in the record.
#[derive(Deserialize)]
struct Document {
    name: String,
    url: String,
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    repository: String,
    tag: Tag,
    digest: Option<Digest>,
}

impl Serialize for Artifact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let metadata = json!({
            "type": CONTAINER_IMAGE, "repository": self.image.repository(),
            "tag": self.image.tag(), "digest": self.digest,
        });
        let document = json!({
            "name": self.image, "url": format!("{SCHEME}{}", self.temporary),
            "metadata": metadata,
        });
        document.serialize(serializer)
    }
}

/// All artifacts of a build. Serialises as the return value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    artifacts: Vec<Artifact>,
    /// Artifacts of other kinds, which are kept.
    others: Vec<Value>,
}

impl Record {
    /// Reads `{"zuul": {"artifacts": […]}}`, `{"artifacts": […]}` or the list itself; `path` is for
    /// messages. Artifacts that are no images are kept.
    ///
    /// # Errors
    /// [`Error::Files`] with all images that lack something or have no pinned digest.
    pub fn parse(path: &str, json: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(json)
            .map_err(|error| Error::Files(vec![Fault::json(path, &error)]))?;
        let fault = |message: String| Fault {
            path: path.to_owned(),
            at: None,
            message,
        };
        let list = value
            .pointer("/zuul/artifacts")
            .or_else(|| value.get("artifacts"))
            .unwrap_or(&value);
        let Value::Array(list) = list else {
            let message = "expected a list of artifacts, or `zuul.artifacts`".to_owned();
            return Err(Error::Files(vec![fault(message)]));
        };
        let (mut record, mut faults) = (Self::default(), Vec::new());
        for (index, item) in list.iter().enumerate() {
            let kind = item.pointer("/metadata/type").and_then(Value::as_str);
            if kind != Some(CONTAINER_IMAGE) {
                record.others.push(item.clone());
                continue;
            }
            match image(item) {
                Ok(artifact) => record.add(artifact),
                Err(message) => faults.push(fault(format!("artifacts[{index}]: {message}"))),
            }
        }
        if faults.is_empty() {
            Ok(record)
        } else {
            Err(Error::Files(faults))
        }
    }

    /// The images.
    pub fn artifacts(&self) -> &[Artifact] {
        &self.artifacts
    }

    /// Adds an image, in place of one that is to get the same final name.
    pub fn add(&mut self, artifact: Artifact) {
        match self
            .artifacts
            .iter_mut()
            .find(|there| there.image == artifact.image)
        {
            Some(there) => *there = artifact,
            None => self.artifacts.push(artifact),
        }
    }

    /// Adds what another record has, in place of images with the same final name.
    pub fn extend(&mut self, other: Self) {
        self.others.extend(other.others);
        for artifact in other.artifacts {
            self.add(artifact);
        }
    }

    /// The return value in JSON.
    pub fn to_json(&self) -> String {
        format!("{:#}\n", self.to_value())
    }

    fn to_value(&self) -> Value {
        let images = self.artifacts.iter().map(|image| json!(image));
        let artifacts: Vec<_> = self.others.iter().cloned().chain(images).collect();
        json!({"zuul": {"artifacts": artifacts}})
    }
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_value().serialize(serializer)
    }
}

/// One image, or what is wrong with it.
fn image(item: &Value) -> Result<Artifact, String> {
    let document = Document::deserialize(item).map_err(|error| error.to_string())?;
    let Document {
        name,
        url,
        metadata,
    } = document;
    let digest = metadata.digest.ok_or_else(|| {
        format!("`{name}` has no `metadata.digest`, so that nobody can tell whether its tag moved")
    })?;
    let temporary: Reference = url
        .strip_prefix(SCHEME)
        .ok_or_else(|| format!("URL `{url}` does not begin with `{SCHEME}`"))?
        .parse()
        .map_err(|error: ocicore::Error| error.to_string())?;
    let repository: Repository = metadata
        .repository
        .parse()
        .map_err(|error: ocicore::Error| error.to_string())?;
    if temporary.tag().is_none() || temporary.digest().is_some() {
        return Err(format!("URL `{url}` has no tag, or has a digest besides"));
    }
    if temporary.repository() != &repository {
        return Err(format!(
            "`{url}` is not in repository `{repository}`: a manifest is promoted within its \
             repository"
        ));
    }
    let image = Reference::new(repository, metadata.tag);
    if image == temporary {
        return Err(format!("`{image}` is its own temporary tag"));
    }
    Ok(Artifact::new(image, temporary, digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(tag: &str, content: &str) -> Artifact {
        Artifact::new(
            format!("h.io/a/b:{tag}").parse().unwrap(),
            format!("h.io/a/b:change_1_2_x_{tag}").parse().unwrap(),
            Digest::of(content.as_bytes()),
        )
    }

    #[test]
    fn a_record_has_the_shape_of_zuuls() {
        let mut record = Record::default();
        record.add(artifact("latest", "1"));
        insta::assert_snapshot!(record.to_json());
    }

    #[test]
    fn a_record_is_read_back_in_all_its_shapes() {
        let mut record = Record::default();
        record.add(artifact("latest", "1"));
        record.add(artifact("2", "1"));
        record
            .others
            .push(serde_json::json!({"name": "docs", "url": "docs/"}));
        let json = record.to_json();
        assert_eq!(Record::parse("a.json", &json).unwrap(), record);
        let value: Value = serde_json::from_str(&json).unwrap();
        for inner in [&value["zuul"], &value["zuul"]["artifacts"]] {
            assert_eq!(Record::parse("a.json", &inner.to_string()).unwrap(), record);
        }
    }

    #[test]
    fn a_later_upload_replaces_an_earlier_one() {
        let (mut record, mut later) = (Record::default(), Record::default());
        record.add(artifact("latest", "1"));
        record.add(artifact("2", "1"));
        later.add(artifact("latest", "2"));
        record.extend(later);
        assert_eq!(
            record.artifacts(),
            [artifact("latest", "2"), artifact("2", "1")]
        );
    }

    #[test]
    fn all_faults_are_told() {
        let digest = Digest::of(b"x");
        let image = |url: &str, repository: &str, digest: Value| {
            serde_json::json!({"name": "n", "url": url, "metadata": {
                "type": "container_image", "repository": repository, "tag": "1", "digest": digest,
            }})
        };
        let list = serde_json::json!([
            {"name": "docs", "url": "docs/"},
            image("docker://h.io/a:t_1", "h.io/a", Value::Null),
            image("https://h.io/a:t_1", "h.io/a", digest.to_string().into()),
            image("docker://h.io/a:t_1", "h.io/b", digest.to_string().into()),
            image("docker://h.io/a:1", "h.io/a", digest.to_string().into()),
            image("docker://h.io/A:1", "h.io/a", digest.to_string().into()),
            image("docker://h.io/a:t_1", "h.io/a", "sha256:12".into()),
            {"metadata": {"type": "container_image"}},
        ]);
        let mut messages = Record::parse("a.json", &list.to_string())
            .unwrap_err()
            .to_string();
        for json in ["{", "{}", "\n  nope"] {
            let error = Record::parse("a.json", json).unwrap_err();
            messages += &format!("\n{error}");
        }
        insta::assert_snapshot!(messages);
    }

    proptest::proptest! {
        #[test]
        fn no_url_panics(url: String, repository: String, tag: String, digest: String) {
            let list = json!([{"name": "n", "url": url, "metadata": {
                "type": "container_image", "repository": repository, "tag": tag, "digest": digest,
            }}]);
            let _ = Record::parse("a.json", &list.to_string());
        }
    }
}
