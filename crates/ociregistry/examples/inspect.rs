//! Shows what a reference names: its tree of manifests with platforms, layers and sizes.
//!
//! `cargo run -p ociregistry --example inspect -- [--json] [--plain-http] REF`

#![expect(clippy::print_stdout, reason = "this is a program")]

use std::{fmt::Write as _, future::Future, pin::Pin, process::ExitCode};

use ocicore::{Cx, Descriptor, ImageSource, Name, Reference, Repositories};
use ociregistry::{AuthFiles, HostOptions, Registry};
use serde_json::{Value, json};

type Failure = Box<dyn std::error::Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Failure> {
    let (mut as_json, mut plain, mut reference) = (false, false, None);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--json" => as_json = true,
            "--plain-http" => plain = true,
            text if !text.starts_with('-') && reference.is_none() => {
                reference = Some(text.parse::<Reference>()?);
            }
            _ => reference = None,
        }
    }
    let Some(reference) = reference else {
        println!("usage: inspect [--json] [--plain-http] REF");
        return Ok(ExitCode::from(2));
    };
    let mut builder = Registry::builder().keychain(AuthFiles::from_env());
    if plain {
        let host = reference.repository().host();
        builder = builder.host(host, HostOptions::default().with_plain_http());
    }
    let store = builder.build().repository(reference.repository())?;
    match tree(&*store, reference.name(), None).await {
        Ok(tree) if as_json => println!("{tree:#}"),
        Ok(tree) => print!("{}", text(&tree, 0)),
        Err(error) => {
            println!("error: {error}");
            let mut at = std::error::Error::source(&error);
            while let Some(source) = at {
                println!("  {source}");
                at = source.source();
            }
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A manifest with all below it.
fn tree<'a>(
    store: &'a dyn ImageSource,
    name: Name,
    entry: Option<&'a Descriptor>,
) -> Pin<Box<dyn Future<Output = ocicore::Result<Value>> + 'a>> {
    Box::pin(async move {
        let manifest = store.manifest(&Cx::default(), &name).await?;
        let links = manifest.links()?;
        let mut manifests = Vec::new();
        for child in &links.manifests {
            manifests.push(tree(store, Name::Digest(*child.digest()), Some(child)).await?);
        }
        let blobs: u64 = links.blobs().map(Descriptor::size).sum();
        let below = manifests.iter().filter_map(|child| child["bytes"].as_u64());
        Ok(json!({
            "descriptor": manifest.descriptor(),
            "platform": entry.and_then(Descriptor::platform).map(ToString::to_string),
            "bytes": manifest.descriptor().size() + blobs + below.sum::<u64>(),
            "config": links.config,
            "layers": links.layers,
            "manifests": manifests,
        }))
    })
}

fn text(node: &Value, depth: usize) -> String {
    let indent = "  ".repeat(depth);
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let line = |node: &Value| {
        let (digest, kind) = (word(&node["digest"]), word(&node["mediaType"]));
        format!("{digest}  {kind}  {} bytes", node["size"])
    };
    let mut out = format!("{indent}{}", line(&node["descriptor"]));
    if let Some(platform) = node["platform"].as_str() {
        out += &format!("  {platform}");
    }
    out += &format!("  ({} bytes in all)\n", node["bytes"]);
    let layers = node["layers"].as_array().into_iter().flatten();
    for blob in [&node["config"]]
        .into_iter()
        .filter(|config| !config.is_null())
        .chain(layers)
    {
        // Writing to a text cannot fail.
        let _ = writeln!(out, "{indent}  {}", line(blob));
    }
    for child in node["manifests"].as_array().into_iter().flatten() {
        out += &text(child, depth + 1);
    }
    out
}
