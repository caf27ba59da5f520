use std::time::Duration;

use ocicore::{Class, Cx, Descriptor, Digest, MediaType};

use super::{Asked, Proxy, Route};
use crate::links::Page;

/// Longest wait for an upstream's list; what is here is told then without it.
const PATIENCE: Duration = Duration::from_secs(10);

impl Proxy {
    /// What an upstream knows to refer to `subject`, such as its signatures. A list that cannot be
    /// had is none: what is here is to be had in any case.
    ///
    /// A server that answers this endpoint must know all referrers, for its clients then do not
    /// look for the tags by which older registries list them (distribution-spec §Referrers Tag
    /// Schema); the upstream's client does that.
    pub(crate) async fn referrers(
        &self,
        cx: &Cx,
        route: &Route,
        subject: &Digest,
    ) -> Vec<Descriptor> {
        let Some((upstream, repository)) = &route.upstream else {
            return Vec::new();
        };
        let asked = (route.local.clone(), Asked::Referrers(*subject));
        if self.is_missing(cx, &asked) {
            return Vec::new();
        }
        let list = async {
            upstream
                .repository(repository)?
                .referrers(cx, subject)
                .await
        };
        let Ok(list) = tokio::time::timeout(PATIENCE, list).await else {
            tracing::warn!(%repository, %subject, "no list of referrers in {PATIENCE:?}");
            return Vec::new();
        };
        let list = list.or_else(|error| match error.class() {
            Class::NotFound | Class::Denied => Ok(Vec::new()),
            _ => Err(error),
        });
        match list {
            Ok(list) => {
                if list.is_empty() {
                    self.remember_missing(cx, asked);
                }
                list
            }
            Err(error) => {
                tracing::warn!(%error, %repository, %subject, "no list of referrers");
                Vec::new()
            }
        }
    }
}

/// A page of both lists, of which `here` is one already, by the same filter.
pub(crate) fn merge(
    here: Page<Descriptor>,
    mut there: Vec<Descriptor>,
    artifact_type: Option<&MediaType>,
    after: Option<&Digest>,
    limit: usize,
) -> Page<Descriptor> {
    // What lies beyond a page that goes on belongs to a later one.
    let end = here.items.last().filter(|_| here.more);
    let end = end.map(|last| *last.digest());
    let mut more = here.more;
    there.retain(|referrer| {
        let digest = referrer.digest();
        after.is_none_or(|after| digest > after)
            && end.is_none_or(|end| *digest < end)
            && artifact_type.is_none_or(|wanted| referrer.artifact_type() == Some(wanted))
    });
    let mut items = here.items;
    items.append(&mut there);
    // Stable: of one that is in both lists, what is here comes first.
    items.sort_by_key(|referrer| *referrer.digest());
    items.dedup_by(|b, a| a.digest() == b.digest());
    if items.len() > limit {
        items.truncate(limit);
        more = true;
    }
    Page { items, more }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn referrer(n: u8, kind: &str) -> Descriptor {
        Descriptor::new(MediaType::OCI_MANIFEST, Digest::sha256([n; 32]), 2)
            .with_artifact_type(format!("x/{kind}").parse().unwrap())
    }

    fn referrers(text: &str) -> Vec<Descriptor> {
        let one = |word: &str| {
            let (n, kind) = word.split_at(1);
            referrer(n.parse().unwrap(), kind)
        };
        text.split_whitespace().map(one).collect()
    }

    #[test]
    fn pages_of_both_lists_are_in_order() {
        for (here, more, there, kind, after, limit, expected, goes_on) in [
            ("1a 3a", false, "4b 2b", None, None, 9, "1a 2b 3a 4b", false),
            ("1a 3a", false, "4b 2b", None, None, 3, "1a 2b 3a", true),
            // The next page of what is here begins after 3.
            ("1a 3a", true, "4b 2b", None, None, 9, "1a 2b 3a", true),
            ("1a 3a", true, "4b 2b", None, None, 2, "1a 2b", true),
            ("", false, "4b 2b 1a", None, Some(1), 9, "2b 4b", false),
            ("1a", false, "1b 2b", None, None, 9, "1a 2b", false),
            ("1a", false, "2b 3a", Some("x/a"), None, 9, "1a 3a", false),
            ("", false, "", None, None, 9, "", false),
        ] {
            let page = Page {
                items: referrers(here),
                more,
            };
            let kind: Option<MediaType> = kind.map(|kind: &str| kind.parse().unwrap());
            let after = after.map(|n| Digest::sha256([n; 32]));
            let page = merge(page, referrers(there), kind.as_ref(), after.as_ref(), limit);
            assert_eq!(page.items, referrers(expected), "{here} + {there}");
            assert_eq!(page.more, goes_on, "{here} + {there}");
        }
    }
}
