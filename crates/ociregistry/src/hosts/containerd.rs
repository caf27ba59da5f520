//! Containerd's `hosts.toml` (containerd, docs/hosts.md).

use std::path::Path;

use toml_edit::{Item, TableLike, Value};
use url::Url;

use super::{HostOptions, Hosts, Mirror, Rule, file};
use crate::{Result, endpoint};

/// Reads a file for the repositories that begin with `prefix`; `*` is all.
pub(super) fn parse(path: &Path, prefix: &str, text: &str) -> Result<Hosts> {
    let name = path.display().to_string();
    let toml = file::Toml::parse(&name, text)?;
    let at = path.parent().unwrap_or(Path::new(""));
    let mut hosts = Hosts::default();
    let mut rule = Rule::new(prefix.to_owned());
    let url = |text: &str, item: Option<&Item>, table: &dyn TableLike| -> Result<Url> {
        let with_scheme = match text.contains("://") {
            true => text.to_owned(),
            false => format!("https://{text}"),
        };
        let url = super::server(&with_scheme).map_err(|expected| {
            let shown = super::shown(text);
            toml.fault(
                item,
                format!("`{shown}` is no address of a server, {expected}"),
            )
        })?;
        if toml.flag(table, "override_path")? {
            return Ok(url);
        }
        let mut url = url;
        url.set_path(&format!("{}/v2/", url.path().trim_end_matches('/')));
        Ok(url)
    };
    let root = toml.root();
    if let Some(server) = toml.text(root, "server")? {
        let url = url(server, root.get("server"), root)?;
        hosts = read_host(hosts, &toml, root, &url, at)?;
        rule.location = Some(Mirror::from_base(url));
    }
    let tables = toml.value(root, "host", "a table", Item::as_table_like)?;
    for (address, item) in tables.into_iter().flat_map(TableLike::iter) {
        let Some(table) = item.as_table_like() else {
            let shown = super::shown(address);
            return Err(toml.fault(Some(item), format!("`{shown}` is no table of a host")));
        };
        let url = url(address, Some(item), table)?;
        hosts = read_host(hosts, &toml, table, &url, at)?;
        let mut reads = table.get("capabilities").is_none();
        for capability in texts(&toml, table, "capabilities")? {
            match capability {
                "pull" => reads = true,
                "resolve" | "push" | "referrers" => {}
                other => {
                    let fault =
                        format!("`{other}` is no capability, expected `pull`, `resolve` or `push`");
                    return Err(toml.fault(table.get("capabilities"), fault));
                }
            }
        }
        if reads {
            rule.mirrors.push(Mirror::from_base(url).with_namespace());
        }
    }
    hosts.rules.push(rule);
    Ok(hosts)
}

/// Certificates of one host.
fn read_host(
    hosts: Hosts,
    toml: &file::Toml<'_>,
    table: &dyn TableLike,
    url: &Url,
    at: &Path,
) -> Result<Hosts> {
    let mut options = HostOptions::default();
    let read = |text: &str, key: &str| {
        file::read(&at.join(text)).map_err(|error| toml.fault(table.get(key), error.to_string()))
    };
    for ca in texts(toml, table, "ca")? {
        options = options.with_ca_pem(read(ca, "ca")?);
    }
    let mut identity = String::new();
    for file in texts(toml, table, "client")? {
        identity += &read(file, "client")?;
        identity.push('\n');
    }
    if !identity.is_empty() {
        options = options.with_client_identity_pem(identity);
    }
    if toml.flag(table, "skip_verify")? && url.scheme() == "https" {
        options = options.with_untrusted_certificates();
    }
    options = match url.scheme() {
        "http" => options.with_plain_http(),
        _ => options.with_tls(),
    };
    Ok(hosts.with_options(&endpoint::authority(url), options))
}

/// A text, an array of texts, or an array of arrays of texts.
fn texts<'t>(toml: &file::Toml<'_>, table: &'t dyn TableLike, key: &str) -> Result<Vec<&'t str>> {
    fn add<'t>(value: &'t Value, all: &mut Vec<&'t str>) -> bool {
        match (value.as_str(), value.as_array()) {
            (Some(text), _) => {
                all.push(text);
                true
            }
            (None, Some(array)) => array.iter().all(|value| add(value, all)),
            (None, None) => false,
        }
    }
    let read = |item: &'t Item| {
        let mut all = Vec::new();
        add(item.as_value()?, &mut all).then_some(all)
    };
    Ok(toml.value(table, key, "texts", read)?.unwrap_or_default())
}
