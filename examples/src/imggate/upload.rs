use std::{fs, path::PathBuf};

use gating::{
    artifacts::Record,
    buildset::BuildsetRegistry,
    temp_tag::Prefix,
    upload::{self, Image},
};
use ocicore::{Cx, Reference};
use ociregistry::{Credentials, HostOptions, Registry};

use super::{lines, read_buildset, read_record};
use crate::{Common, Result, print, registry};

/// Images to be uploaded.
#[derive(clap::Args, Debug)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["change", "pipeline"]))]
pub struct Upload {
    /// Images by the names that users know
    #[arg(required = true)]
    images: Vec<Reference>,
    /// What `run-buildset` wrote
    #[arg(long, value_name = "FILE", default_value = "buildset_registry.json")]
    buildset: PathBuf,
    /// Upload to this registry instead of those of the names
    #[arg(long, value_name = "HOST[:PORT]")]
    to: Option<String>,
    /// Number of the change
    #[arg(long, requires = "patchset")]
    change: Option<u64>,
    /// Patch set of the change
    #[arg(long, requires = "change")]
    patchset: Option<String>,
    /// Pipeline, for a build without a change
    #[arg(long)]
    pipeline: Option<String>,
    /// Identifier of the build
    #[arg(long)]
    build: String,
    /// Artifact record to write, or to add to
    #[arg(long, value_name = "FILE", default_value = "artifacts.json")]
    artifacts: PathBuf,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

impl Upload {
    /// Copies the images, and records them once all are there.
    ///
    /// # Errors
    /// Those of the registries and of the files.
    pub async fn run(self, cx: &Cx, common: Common) -> Result<()> {
        let prefix = self.prefix()?;
        let buildset = read_buildset(&self.buildset)?;
        let mut record = if fs::exists(&self.artifacts)? {
            read_record(&self.artifacts)?
        } else {
            Record::default()
        };
        let mut images = Vec::with_capacity(self.images.len());
        for image in &self.images {
            let source = buildset.repository(image.repository())?;
            let source = Reference::new(source, image.name());
            images.push(Image::new(source, self.target(image)?)?);
        }
        let (from, to) = (client(&buildset), registry()?);
        let plan = upload::plan(cx, &from, &to, &prefix, &images).await?;
        if self.dry_run {
            return print(common, &plan, render);
        }
        let text = render(&plan);
        let uploaded = upload::run(cx, plan, &from, &to).await?;
        record.extend(uploaded);
        gating::write_public(&self.artifacts, record.to_json().as_bytes())?;
        print(common, &record, |_| {
            format!("{text}\nrecorded in {}", self.artifacts.display())
        })
    }

    fn prefix(&self) -> Result<Prefix> {
        // clap lets just one of the two pass, and a change with its patch set only.
        let prefix = match (self.change, &self.pipeline) {
            (None, Some(pipeline)) => Prefix::pipeline(pipeline, &self.build),
            (change, _) => {
                let patchset = self.patchset.as_deref().unwrap_or_default();
                Prefix::change(change.unwrap_or_default(), patchset, &self.build)
            }
        };
        Ok(prefix?)
    }

    /// The final name of an image.
    fn target(&self, image: &Reference) -> Result<Reference> {
        let Some(host) = &self.to else {
            return Ok(image.clone());
        };
        Ok(Reference::new(image.repository().at(host)?, image.name()))
    }
}

/// A client that knows the password and the certificate of a buildset registry.
fn client(buildset: &BuildsetRegistry) -> Registry {
    let (address, password) = (buildset.address(), buildset.password().expose());
    Registry::builder()
        .credentials(&address, Credentials::basic(buildset.username(), password))
        .host(
            &address,
            HostOptions::default().with_ca_pem(buildset.cert()),
        )
        .build()
}

fn render(plan: &upload::Plan) -> String {
    lines(plan.images().iter().map(|step| {
        format!(
            "{}@{} -> {} ({} blobs, {} bytes)",
            step.source(),
            step.manifest().digest(),
            step.temporary(),
            step.copy().blobs().len(),
            step.copy().bytes()
        )
    }))
}
