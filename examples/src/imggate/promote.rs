use std::path::PathBuf;

use gating::{
    cleanup::Removal,
    promote::{self, Outcome, Promoted},
};
use ocicore::{Class, Cx};

use super::{lines, read_record};
use crate::{Common, Failure, Result, print, registry};

/// Images to be promoted.
#[derive(clap::Args, Debug)]
pub struct Promote {
    /// What `upload` recorded
    #[arg(default_value = "artifacts.json")]
    artifacts: PathBuf,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

impl Promote {
    /// Promotes all images of the record, or none.
    ///
    /// # Errors
    /// Class `Conflict` if a temporary tag is not what was uploaded; those of the registries.
    pub async fn run(self, cx: &Cx, common: Common) -> Result<()> {
        let record = read_record(&self.artifacts)?;
        if record.artifacts().is_empty() {
            let error = format!("`{}` has no container image", self.artifacts.display());
            return Err(Failure::new(Class::Invalid, error)
                .with_hint("`imggate upload --artifacts FILE` writes such a record"));
        }
        let client = registry()?;
        let plan = promote::plan(cx, &client, record.artifacts()).await?;
        if self.dry_run {
            return print(common, &plan, |plan| {
                lines(plan.images().iter().map(planned))
            });
        }
        let done = promote::run(cx, &plan, &client).await?;
        print(common, &done, |done| lines(done.iter().map(promoted)))
    }
}

fn planned(step: &promote::Step) -> String {
    let (image, digest) = (step.image(), step.digest());
    match step.manifest() {
        Some(_) => format!("tag {image} as {digest}, then remove {}", step.temporary()),
        None => format!("{image} is {digest} already"),
    }
}

fn promoted(image: &Promoted) -> String {
    let what = match image.outcome {
        Outcome::Promoted => "promoted",
        _ => "promoted before:",
    };
    let tag = match &image.removal {
        Removal::Removed => format!("removed {}", image.temporary),
        Removal::Kept { reason } => format!("{} stays: {reason}", image.temporary),
        _ => format!("{} was gone", image.temporary),
    };
    format!("{what} {}@{}\n{tag}", image.image, image.digest)
}
