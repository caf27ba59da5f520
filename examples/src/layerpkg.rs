//! Arguments of `layerpkg`, where it finds its parts, and how it shows what it does.

use std::{env, fmt::Write, path::PathBuf, str::FromStr};

use layerpkg::{
    Package, PackageName, Prefix, Taken, Version,
    install::{self, Activation, InstallSpec},
    publish::{self, PublishSpec},
};
use ocicore::{Class, Platform, Reference};

use crate::{Failure, Result, source_date_epoch};

/// The program beside this one that becomes the shims.
const SHIM: &str = "layerpkg-shim";

/// Arguments of `layerpkg publish`.
#[derive(clap::Args, Debug)]
pub struct Publish {
    /// What to publish
    pub directory: PathBuf,
    /// Where: [HOST/]PATH:TAG
    pub reference: Reference,
    /// Its version [default: the tag, unless that is `latest`]
    #[arg(long)]
    pub version: Option<Version>,
    /// What it runs on
    #[arg(long, default_value_t = Platform::host())]
    pub platform: Platform,
    /// More labels of the image
    #[arg(long, value_name = "KEY=VALUE")]
    pub label: Vec<Label>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

impl Publish {
    /// What is to be published.
    ///
    /// # Errors
    /// If `SOURCE_DATE_EPOCH` is no number.
    pub fn spec(&self) -> Result<PublishSpec> {
        let mut spec = PublishSpec::new(&self.directory, self.reference.clone())
            .with_platform(self.platform.clone())
            .with_created(source_date_epoch()?);
        if let Some(version) = &self.version {
            spec = spec.with_version(version.clone());
        }
        for Label { key, value } in &self.label {
            spec = spec.with_label(key, value);
        }
        Ok(spec)
    }
}

/// Arguments of `layerpkg install`.
#[derive(clap::Args, Debug)]
pub struct Install {
    /// The image: `[HOST/]PATH[:TAG][@DIGEST]`
    pub reference: Reference,
    /// What to call the package [default: the last component of PATH]
    #[arg(long)]
    pub name: Option<PackageName>,
    /// Which image to take from an index
    #[arg(long, default_value_t = Platform::host())]
    pub platform: Platform,
    /// Switch to it even if another version is active
    #[arg(long = "use")]
    pub activate: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

impl Install {
    /// What is to be installed.
    pub fn spec(&self) -> InstallSpec {
        let mut spec =
            InstallSpec::new(self.reference.clone()).with_platform(self.platform.clone());
        if let Some(name) = &self.name {
            spec = spec.with_name(name.clone());
        }
        if self.activate {
            spec = spec.with_activation(Activation::Always);
        }
        spec
    }
}

/// A label of an image, `KEY=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
}

impl FromStr for Label {
    type Err = String;

    fn from_str(input: &str) -> Result<Self, String> {
        match input.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok(Self {
                key: key.to_owned(),
                value: value.to_owned(),
            }),
            _ => Err("expected KEY=VALUE".to_owned()),
        }
    }
}

/// The prefix that was asked for, or the user's own.
///
/// # Errors
/// If there is neither, or this program does not know where it is.
pub fn prefix(asked: Option<PathBuf>) -> Result<Prefix> {
    let data = || match env::var_os("XDG_DATA_HOME").filter(|path| !path.is_empty()) {
        Some(path) => Some(PathBuf::from(path)),
        None => env::home_dir().map(|home| home.join(".local/share")),
    };
    let root = asked.or_else(|| Some(data()?.join("layerpkg")));
    let root = root.ok_or_else(|| {
        Failure::new(Class::NotFound, "there is no home directory")
            .with_hint("say where to install by --prefix")
    })?;
    let shim = env::current_exe()?.with_file_name(SHIM);
    let prefix = Prefix::new(root);
    Ok(if shim.exists() {
        prefix.with_shim(shim)
    } else {
        tracing::warn!("{} is not there: no shims are made", shim.display());
        prefix
    })
}

/// What would be published.
pub fn publish_plan(plan: &publish::Plan) -> String {
    let mut text = String::new();
    line(&mut text, "package", &plan.name);
    line(&mut text, "to", &plan.reference);
    line(&mut text, "platform", &plan.platform);
    for (key, value) in &plan.labels {
        line(&mut text, "label", &format_args!("{key}={value}"));
    }
    let size = format_args!("{} entries, {} bytes", plan.entries, plan.bytes);
    line(&mut text, "content", &size);
    tools(&mut text, &plan.tools);
    text
}

/// What was published.
pub fn published(done: &publish::Outcome) -> String {
    let mut text = publish_plan(&done.plan);
    let layer = format_args!("{} {} bytes", done.layer.digest, done.layer.size);
    line(&mut text, "layer", &layer);
    line(&mut text, "digest", &done.digest);
    text
}

/// What would be installed.
pub fn install_plan(plan: &install::Plan) -> String {
    let mut text = String::new();
    let package = format_args!("{} {}", plan.name, plan.version);
    line(&mut text, "package", &package);
    line(&mut text, "from", &plan.origin.reference);
    line(&mut text, "digest", &plan.digest);
    for layer in &plan.layers {
        let layer = format_args!("{} {} bytes", layer.digest(), layer.size());
        line(&mut text, "fetch", &layer);
    }
    text
}

/// What was installed.
pub fn installed(done: &install::Outcome, prefix: &Prefix) -> String {
    let mut text = String::new();
    let change = match done.change {
        install::Change::Present => "present",
        install::Change::Replaced => "replaced",
        _ => "installed",
    };
    let package = format_args!("{} {}", done.name, done.version);
    line(&mut text, change, &package);
    line(&mut text, "digest", &done.digest);
    if let Some(kept) = &done.kept {
        line(&mut text, "kept", &format_args!("{} {kept}", done.name));
    }
    match &done.active {
        Some(active) if *active == done.version => {}
        Some(active) => {
            let hint = format_args!(
                "{active} (switch by `layerpkg use {} {}`)",
                done.name, done.version
            );
            line(&mut text, "active", &hint);
        }
        None => {}
    }
    tools(&mut text, &done.tools);
    for Taken { tool, by, .. } in &done.taken {
        let by = by
            .as_ref()
            .map_or("a file of another program".to_owned(), |name| {
                format!("package {name}")
            });
        let text_of = format_args!("no shim for `{tool}`, the name belongs to {by}");
        line(&mut text, "warning", &text_of);
    }
    if !done.tools.is_empty() {
        line(&mut text, "in", &prefix.bin().display());
    }
    text
}

/// A table of what is installed.
pub fn packages(packages: &[Package]) -> String {
    let mut text = String::new();
    for package in packages {
        for one in &package.versions {
            let mark = if package.active.as_ref() == Some(&one.version) {
                '*'
            } else {
                ' '
            };
            let from = one
                .origin
                .as_ref()
                .map(|origin| origin.reference.to_string());
            let (name, version, digest) = (&package.name, &one.version, one.digest.short());
            let from = from.unwrap_or_default();
            let row = format!("{mark} {name:<20} {version:<20} {digest}  {from}");
            let _ = writeln!(text, "{}", row.trim_end());
        }
    }
    if packages.is_empty() {
        text += "nothing is installed";
    }
    text
}

fn tools(text: &mut String, tools: &[String]) {
    if !tools.is_empty() {
        line(text, "tools", &tools.join(" "));
    }
}

fn line(text: &mut String, key: &str, value: &dyn std::fmt::Display) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{key:<9} {value}");
}
