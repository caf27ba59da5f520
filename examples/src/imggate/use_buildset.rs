use std::path::PathBuf;

use clap::ValueEnum;
use gating::clientcfg::{self, Action, NAMESPACES, PodmanFiles};

use super::{lines, read_buildset};
use crate::{Common, Result, print};

/// Configuration of a client.
#[derive(clap::Args, Debug)]
pub struct UseBuildset {
    /// What `run-buildset` wrote
    #[arg(default_value = "buildset_registry.json")]
    buildset: PathBuf,
    /// The client
    #[arg(long = "for", value_name = "CLIENT")]
    client: Client,
    /// Registries whose images may be in the buildset registry
    #[arg(long, value_name = "HOST", default_values = NAMESPACES)]
    namespace: Vec<String>,
    /// Where the system's files are
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// Home of the user who logs in, below the root
    #[arg(long, value_name = "DIR", env = "HOME")]
    home: PathBuf,
    /// Say what would be changed, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// A container client.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[non_exhaustive]
pub enum Client {
    /// Podman, Buildah, Skopeo and CRI-O
    Podman,
}

impl UseBuildset {
    /// Changes the client's files; all of them are checked before the first is written.
    ///
    /// # Errors
    /// If a file cannot be understood or written.
    pub fn run(self, common: Common) -> Result<()> {
        let registry = read_buildset(&self.buildset)?;
        let Client::Podman = self.client;
        let files = PodmanFiles::below(&self.root, &self.home);
        let namespaces = self.namespace.iter().map(String::as_str);
        let plan = clientcfg::plan_podman(&registry, namespaces, &files)?;
        if !self.dry_run {
            clientcfg::apply(&plan)?;
        }
        print(common, &plan, |plan| {
            lines(plan.files().iter().map(|file| {
                let action = match file.action() {
                    Action::Create => "create",
                    Action::Update => "update",
                    _ => "keep",
                };
                let text = format!("{action} {}", file.path().display());
                match file.change().trim_end() {
                    change if self.dry_run && !change.is_empty() => format!("{text}\n{change}"),
                    _ => text,
                }
            }))
        })
    }
}
