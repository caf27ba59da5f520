//! Shows what a reference names: its tree of manifests with platforms, layers and sizes.
//!
//! `cargo run -p ociregistry --example inspect -- [--json] [--plain-http] REF`

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is a program"
)]

use std::{future::Future, pin::Pin, process::ExitCode};

use ocicore::{Cx, Descriptor, ImageSource, Name, Reference, Repositories};
use ociregistry::{AuthFiles, HostOptions, Registry};
use serde::Serialize;

const USAGE: &str = "\
Usage: inspect [--json] [--plain-http] REF

Shows what REF names at its registry: manifests with their platforms, configs, layers, and sizes.

  --json        as JSON
  --plain-http  speak with the registry without TLS; the default on this machine only

Credentials are those of `podman login` and `docker login`.
Exit codes: 0 shown, 1 it could not be read, 2 wrong command line";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let (mut as_json, mut plain, mut names) = (false, false, Vec::new());
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--json" => as_json = true,
            "--plain-http" => plain = true,
            "-h" | "--help" => {
                println!("{USAGE}");
                return ExitCode::SUCCESS;
            }
            _ => names.push(argument),
        }
    }
    let reference = match &names[..] {
        [name] if !name.starts_with('-') => name.parse::<Reference>(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    let shown = match reference {
        Ok(reference) => inspect(&reference, plain).await,
        Err(error) => {
            report(&error);
            return ExitCode::from(2);
        }
    };
    match shown {
        Ok(node) if as_json => match serde_json::to_string_pretty(&node) {
            Ok(json) => println!("{json}"),
            Err(error) => {
                report(&error);
                return ExitCode::FAILURE;
            }
        },
        Ok(node) => print!("{}", text(&node, 0)),
        Err(error) => {
            report(&error);
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// An error with all its sources.
fn report(error: &dyn std::error::Error) {
    eprintln!("error: {error}");
    let mut at = error.source();
    while let Some(source) = at {
        eprintln!("  caused by: {source}");
        at = source.source();
    }
}

async fn inspect(reference: &Reference, plain: bool) -> ocicore::Result<Node> {
    let mut builder = Registry::builder().keychain(AuthFiles::from_env());
    if plain {
        let host = reference.repository().host();
        builder = builder.host(host, HostOptions::default().with_plain_http());
    }
    let store = builder.build().repository(reference.repository())?;
    read(&*store, reference.name(), None).await
}

/// A manifest with all below it.
#[derive(Serialize)]
struct Node {
    descriptor: Descriptor,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<String>,
    /// Of itself and all below it.
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<Descriptor>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    layers: Vec<Descriptor>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    manifests: Vec<Node>,
}

/// `entry` is the entry of the index that leads here.
fn read<'a>(
    store: &'a dyn ImageSource,
    name: Name,
    entry: Option<&'a Descriptor>,
) -> Pin<Box<dyn Future<Output = ocicore::Result<Node>> + 'a>> {
    Box::pin(async move {
        let manifest = store.manifest(&Cx::default(), &name).await?;
        let links = manifest.links()?;
        let mut manifests = Vec::new();
        for child in &links.manifests {
            manifests.push(read(store, Name::Digest(*child.digest()), Some(child)).await?);
        }
        let blobs: u64 = links.blobs().map(Descriptor::size).sum();
        let below: u64 = manifests.iter().map(|child: &Node| child.bytes).sum();
        Ok(Node {
            bytes: manifest.descriptor().size() + blobs + below,
            descriptor: manifest.descriptor().clone(),
            platform: entry
                .and_then(Descriptor::platform)
                .map(ToString::to_string),
            config: links.config,
            layers: links.layers,
            manifests,
        })
    })
}

fn text(node: &Node, depth: usize) -> String {
    let indent = "  ".repeat(depth);
    let counted = match (node.manifests.len(), node.layers.len()) {
        (0, 1) => "1 layer".to_owned(),
        (0, layers) => format!("{layers} layers"),
        (1, _) => "1 manifest".to_owned(),
        (manifests, _) => format!("{manifests} manifests"),
    };
    let platform = node
        .platform
        .as_deref()
        .map_or(String::new(), |p| format!("{p}  "));
    let mut out = format!(
        "{indent}{platform}{}  {}  {counted}, {} in all\n",
        node.descriptor.digest(),
        node.descriptor.media_type(),
        size(node.bytes),
    );
    let config = node.config.iter().map(|config| ("config", config));
    let layers = node.layers.iter().map(|layer| ("layer ", layer));
    for (what, blob) in config.chain(layers) {
        let (digest, media_type) = (blob.digest(), blob.media_type());
        out += &format!(
            "{indent}  {what}  {digest}  {media_type}  {}\n",
            size(blob.size())
        );
    }
    for child in &node.manifests {
        out += &text(child, depth + 1);
    }
    out
}

/// Bytes as a person reads them.
fn size(bytes: u64) -> String {
    let mut units = ["KiB", "MiB", "GiB", "TiB"].into_iter();
    let (mut value, mut unit) = (bytes as f64, "bytes");
    while value >= 1024.0
        && let Some(next) = units.next()
    {
        (value, unit) = (value / 1024.0, next);
    }
    match unit {
        "bytes" => format!("{bytes} bytes"),
        unit => format!("{value:.1} {unit}"),
    }
}
