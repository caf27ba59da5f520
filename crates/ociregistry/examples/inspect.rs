//! Shows what a reference names: its tree of manifests with platforms, layers and sizes.
//!
//! `cargo run -p ociregistry --example inspect -- [--json] [--plain-http | --ca FILE] REF`

#![expect(clippy::print_stderr, reason = "this is a program")]

use std::{
    future::Future,
    io::{self, Write as _},
    pin::Pin,
    process::ExitCode,
};

use ocicore::{Cx, Descriptor, ImageSource, Name, Reference, Repositories};
use ociregistry::{AuthFiles, HostOptions, Registry};
use serde::Serialize;

const USAGE: &str = "\
Usage: inspect [--json] [--plain-http | --ca FILE] REF

Shows what REF names at its registry: manifests with their platforms, configs, layers, and sizes.

  --json        as JSON
  --plain-http  speak with the registry without TLS; the default on this machine only
  --ca FILE     speak TLS, also on this machine, and trust the authorities of FILE (PEM), too

Credentials are those of `podman login` and `docker login`, proxies those of the environment.
Exit codes: 0 shown, 1 it could not be read, 2 wrong command line";

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => return shown(print(&format!("{USAGE}\n"))),
        Err(error) => {
            eprintln!("error: {error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    shown(inspect(&arguments).await)
}

fn shown(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&*error);
            ExitCode::FAILURE
        }
    }
}

struct Arguments {
    form: Form,
    /// None for the defaults of its host.
    options: Option<HostOptions>,
    reference: Reference,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Json,
}

impl Arguments {
    /// None if help is wanted.
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Self>> {
        let (mut form, mut options, mut names) = (Form::Text, None, Vec::new());
        while let Some(word) = words.next() {
            match word.as_str() {
                "--json" => form = Form::Json,
                "--plain-http" => options = Some(HostOptions::default().with_plain_http()),
                "--ca" => {
                    let path = words.next().ok_or("--ca needs a FILE")?;
                    let pem = std::fs::read(&path).map_err(|e| format!("`{path}`: {e}"))?;
                    options = Some(HostOptions::default().with_ca_pem(pem));
                }
                "-h" | "--help" => return Ok(None),
                option if option.starts_with('-') => {
                    return Err(format!("`{option}` is unknown").into());
                }
                _ => names.push(word),
            }
        }
        let [name] = &names[..] else {
            return Err(format!("expected one REF, got {}", names.len()).into());
        };
        Ok(Some(Self {
            form,
            options,
            reference: name.parse()?,
        }))
    }
}

async fn inspect(arguments: &Arguments) -> Result<()> {
    let reference = &arguments.reference;
    let mut builder = Registry::builder()
        .keychain(AuthFiles::from_env())
        .proxies_from_env();
    if let Some(options) = &arguments.options {
        builder = builder.host(reference.repository().host(), options.clone());
    }
    let store = builder.build().repository(reference.repository())?;
    let mut left = MOST_MANIFESTS;
    let node = read(&*store, reference.name(), None, (0, &mut left)).await?;
    match arguments.form {
        Form::Text => print(&text(&node, 0)),
        Form::Json => print(&(serde_json::to_string_pretty(&node)? + "\n")),
    }
}

/// Who stops to read has seen enough.
fn print(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    let printed = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    match printed {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// An error with all its sources.
fn report(error: &(dyn std::error::Error + 'static)) {
    eprintln!("error: {error}");
    for cause in ocicore::causes(error).skip(1) {
        eprintln!("  caused by: {cause}");
    }
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

/// How many manifests are read, and how deep in indexes: both are for the registry to say.
const MOST_MANIFESTS: usize = 10_000;
const DEEPEST: usize = 16;

/// `entry` is the entry of the index that leads here, `depth` its depth, and `left` how many more
/// manifests are read.
fn read<'a>(
    store: &'a dyn ImageSource,
    name: Name,
    entry: Option<&'a Descriptor>,
    (depth, left): (usize, &'a mut usize),
) -> Pin<Box<dyn Future<Output = Result<Node>> + 'a>> {
    Box::pin(async move {
        if depth > DEEPEST {
            return Err(format!("`{name}` is in more than {DEEPEST} indexes").into());
        }
        *left = left
            .checked_sub(1)
            .ok_or_else(|| format!("it has more than {MOST_MANIFESTS} manifests"))?;
        let manifest = store.manifest(&Cx::default(), &name).await?;
        let links = manifest.links()?;
        let mut manifests = Vec::new();
        for child in &links.manifests {
            let name = Name::Digest(*child.digest());
            let below = read(store, name, Some(child), (depth + 1, left));
            manifests.push(below.await?);
        }
        // What a registry says of sizes need not be true.
        let blobs = links.blobs().map(Descriptor::size);
        let below = manifests.iter().map(|child: &Node| child.bytes);
        let own = manifest.descriptor().size();
        Ok(Node {
            bytes: blobs.chain(below).fold(own, u64::saturating_add),
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
