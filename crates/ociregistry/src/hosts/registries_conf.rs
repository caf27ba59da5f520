//! Podman's `registries.conf` (containers-registries.conf(5), version 2). Pure.

use toml_edit::TableLike;
use url::Url;

use super::{HostOptions, Hosts, Mirror, Rule, file::Toml, route::Reads};
use crate::{Result, endpoint};

pub(super) fn parse(path: &str, text: &str) -> Result<Hosts> {
    let toml = Toml::parse(path, text)?;
    let mut hosts = Hosts::default();
    for table in toml.tables(toml.root(), "registry")? {
        let location = toml.text(table, "location")?;
        let Some(prefix) = toml.text(table, "prefix")?.or(location) else {
            return Err(toml.fault(first(table), "a registry needs `prefix` or `location`"));
        };
        // A `@` after the host may be that of a digest.
        if prefix
            .split('/')
            .next()
            .is_some_and(|host| host.contains('@'))
        {
            let shown = super::shown(prefix);
            let fault = format!("`{shown}` is no prefix, expected HOST[:PORT][/PATH]");
            return Err(toml.fault(table.get("prefix").or(table.get("location")), fault));
        }
        let mut rule = Rule::new(prefix.to_owned());
        rule.blocked = toml.flag(table, "blocked")?;
        if let Some(location) = location {
            let home = place(&toml, table, location, &mut hosts)?;
            if location != prefix {
                rule.location = Some(home);
            }
        }
        let by_digest = toml.flag(table, "mirror-by-digest-only")?;
        for table in toml.tables(table, "mirror")? {
            let Some(location) = toml.text(table, "location")? else {
                return Err(toml.fault(first(table), "a mirror needs `location`"));
            };
            let mirror = place(&toml, table, location, &mut hosts)?;
            let reads = match toml.text(table, "pull-from-mirror")? {
                None | Some("all") if !by_digest => Reads::All,
                None | Some("all" | "digest-only") => Reads::ByDigest,
                Some("tag-only") => Reads::ByTag,
                Some(other) => {
                    let fault = format!(
                        "`pull-from-mirror` is `{other}`, expected `all`, `digest-only` or `tag-only`"
                    );
                    return Err(toml.fault(table.get("pull-from-mirror"), fault));
                }
            };
            rule.mirrors.push(mirror.with_reads(reads));
        }
        hosts.rules.push(rule);
    }
    Ok(hosts)
}

/// A location: a host with or without a path, below which the rest of a repository's path goes.
fn place(
    toml: &Toml<'_>,
    table: &dyn TableLike,
    location: &str,
    hosts: &mut Hosts,
) -> Result<Mirror> {
    let (host, path) = location.split_once('/').unwrap_or((location, ""));
    let bad = || {
        let shown = super::shown(location);
        let fault = format!("`{shown}` is no location, expected HOST[:PORT][/PATH]");
        toml.fault(table.get("location"), fault)
    };
    if toml.flag(table, "insecure")? {
        // Podman tries TLS without checks and then plain HTTP; here it is the second at once.
        *hosts = std::mem::take(hosts).with_options(host, HostOptions::default().with_plain_http());
    }
    // A wildcard is a prefix only.
    let host = super::api_host(host.trim_start_matches("*."));
    let scheme = hosts.endpoint(&host).map_err(|_| bad())?;
    let base = Url::parse(scheme.base().as_str()).map_err(|_| bad())?;
    if endpoint::authority(&base) != host.to_ascii_lowercase() {
        return Err(bad());
    }
    Mirror::below(base, path).ok_or_else(bad)
}

fn first(table: &dyn TableLike) -> Option<&toml_edit::Item> {
    table.iter().next().map(|(_, item)| item)
}
