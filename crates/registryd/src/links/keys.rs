//! Where everything lies in a storage.
//!
//! ```text
//! blobs/ALGORITHM/XX/HEX                         content, of all repositories
//! repositories/NAME/_blobs/ALGORITHM-HEX         a blob of the repository: its size
//! repositories/NAME/_manifests/ALGORITHM-HEX     a manifest of the repository
//! repositories/NAME/_tags/TAG                    descriptor of the tagged manifest
//! repositories/NAME/_referrers/SUBJECT/DIGEST    descriptor of a manifest with that subject
//! repositories/NAME/_upstream/TAG               descriptor that an upstream's tag had
//! repositories/NAME/_expected/ALGORITHM-HEX      descriptor of a blob that an upstream has
//! condemned/ALGORITHM-HEX                        content that garbage collection will remove
//! catalog/NAME                                   the repository exists; `+` stands for `/`
//! ```
//! No component of a repository name begins with `_` or holds `+`, so that nothing collides.

use ocicore::{Digest, RepositoryPath, Tag};

use crate::storage::Key;

pub(crate) fn content(digest: &Digest) -> Key {
    let hex = digest.hex();
    key(format!("blobs/{}/{}/{hex}", digest.algorithm(), &hex[..2]))
}

pub(crate) fn blob(repository: &RepositoryPath, digest: &Digest) -> Key {
    key(format!("{}/{}", blobs(repository), flat(digest)))
}

pub(crate) fn blobs(repository: &RepositoryPath) -> Key {
    key(format!("repositories/{repository}/_blobs"))
}

pub(crate) fn manifest(repository: &RepositoryPath, digest: &Digest) -> Key {
    key(format!("{}/{}", manifests(repository), flat(digest)))
}

pub(crate) fn manifests(repository: &RepositoryPath) -> Key {
    key(format!("repositories/{repository}/_manifests"))
}

pub(crate) fn tag(repository: &RepositoryPath, tag: &Tag) -> Key {
    key(format!("{}/{tag}", tags(repository)))
}

pub(crate) fn tags(repository: &RepositoryPath) -> Key {
    key(format!("repositories/{repository}/_tags"))
}

pub(crate) fn referrer(repository: &RepositoryPath, subject: &Digest, digest: &Digest) -> Key {
    key(format!(
        "{}/{}",
        referrers(repository, subject),
        flat(digest)
    ))
}

pub(crate) fn referrers(repository: &RepositoryPath, subject: &Digest) -> Key {
    key(format!(
        "repositories/{repository}/_referrers/{}",
        flat(subject)
    ))
}

pub(crate) fn upstream_tag(repository: &RepositoryPath, tag: &Tag) -> Key {
    key(format!("{}/{tag}", upstream_tags(repository)))
}

pub(crate) fn upstream_tags(repository: &RepositoryPath) -> Key {
    key(format!("repositories/{repository}/_upstream"))
}

pub(crate) fn expected(repository: &RepositoryPath, digest: &Digest) -> Key {
    key(format!("{}/{}", all_expected(repository), flat(digest)))
}

pub(crate) fn all_expected(repository: &RepositoryPath) -> Key {
    key(format!("repositories/{repository}/_expected"))
}

pub(crate) fn condemned(digest: &Digest) -> Key {
    key(format!("condemned/{}", flat(digest)))
}

pub(crate) fn all_condemned() -> Key {
    key("condemned".to_owned())
}

/// Held by who collects garbage.
pub(crate) fn lease() -> Key {
    key("garbage-collection".to_owned())
}

pub(crate) fn contents() -> Key {
    key("blobs".to_owned())
}

/// The digest of a content.
pub(crate) fn content_digest(key: &Key) -> Option<Digest> {
    let [_, algorithm, _, hex] = key.as_str().split('/').collect::<Vec<_>>()[..] else {
        return None;
    };
    format!("{algorithm}:{hex}").parse().ok()
}

/// The repository that a link belongs to.
pub(crate) fn owner(key: &Key) -> Option<RepositoryPath> {
    let (name, _) = key
        .as_str()
        .strip_prefix("repositories/")?
        .split_once("/_")?;
    name.parse().ok()
}

pub(crate) fn links() -> Key {
    key("repositories".to_owned())
}

pub(crate) fn repository(name: &RepositoryPath) -> Key {
    key(format!("catalog/{}", name.as_str().replace('/', "+")))
}

pub(crate) fn catalog() -> Key {
    key("catalog".to_owned())
}

/// The digest that the last component of a key names.
pub(crate) fn digest_of(key: &Key) -> Option<Digest> {
    key.name().replacen('-', ":", 1).parse().ok()
}

/// The repository that an entry of the catalog names.
pub(crate) fn repository_of(key: &Key) -> Option<RepositoryPath> {
    key.name().replace('+', "/").parse().ok()
}

fn flat(digest: &Digest) -> String {
    format!("{}-{}", digest.algorithm(), digest.hex())
}

fn key(text: String) -> Key {
    Key::trusted(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys are built from parsed nouns only; this shows that their grammars fit in.
    #[test]
    fn every_noun_makes_a_key() {
        let name: RepositoryPath = "a/b-c.d__e/0".parse().unwrap();
        let longest: RepositoryPath = "a".repeat(255).parse().unwrap();
        let digests = [Digest::of(b""), ocicore::Algorithm::Sha512.digest(b"")];
        for repository in [&name, &longest] {
            for digest in &digests {
                for key in [
                    content(digest),
                    condemned(digest),
                    expected(repository, digest),
                    upstream_tag(repository, &"_x.Y-z".parse().unwrap()),
                    blob(repository, digest),
                    manifest(repository, digest),
                    referrer(repository, digest, digest),
                    tag(repository, &"_x.Y-z".parse().unwrap()),
                    super::repository(repository),
                ] {
                    assert_eq!(key.as_str().parse::<Key>().unwrap(), key);
                }
                assert_eq!(digest_of(&blob(repository, digest)), Some(*digest));
                assert_eq!(content_digest(&content(digest)), Some(*digest));
                let owned = owner(&blob(repository, digest));
                assert_eq!(owned.as_ref(), Some(repository));
            }
            let entry = super::repository(repository);
            assert_eq!(repository_of(&entry).as_ref(), Some(repository));
        }
    }
}
