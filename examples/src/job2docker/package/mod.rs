//! Several jobs as one released unit: what `job2docker package` does.

mod arguments;
mod outcome;
mod sources;

use ocicore::{Class, Cx, Repositories};
use talend::{
    Entrypoint,
    application::{MergeSpec, Versions, merge},
    layers::Residue,
    manifest::Manifest,
};

use super::{
    Base, LayerFiles, Layering, OpenBase, assemble, default_entrypoint, named,
    publish::{self, Archive},
    write_archive,
};
use crate::{Common, Failure, Place, Result, print, registry};

use arguments::Wanted;
pub use arguments::{Package, PublishLayoutName};
use outcome::{Outcome, render};
use sources::Sources;

/// Runs `job2docker package`.
///
/// # Errors
/// Those of the manifest, of its jobs, of the conversion, the base, the places and the repository.
/// Nothing is written before all jobs are there and merged.
pub async fn package_jobs(cx: &Cx, common: Common, command: Package) -> Result<()> {
    let wanted = Wanted::new(command)?;
    let registry = registry()?;
    let outcome = package(cx, &registry, &wanted).await?;
    print(common, &outcome, render)
}

async fn package(cx: &Cx, registry: &dyn Repositories, wanted: &Wanted) -> Result<Outcome> {
    let manifest = read_manifest(wanted)?;
    let unit = wanted.unit(&manifest)?;
    // A password is asked for before anything is done.
    let target_client = match (&wanted.publish, wanted.dry_run) {
        (Some(_), false) => Some(wanted.target_client()?),
        _ => None,
    };
    let sources = Sources::get(cx, wanted, &manifest).await?;
    let base = match (wanted.to.is_empty(), wanted.dry_run) {
        (false, false) => Some(open_base(cx, registry, wanted, &sources).await?),
        _ => None,
    };
    let entrypoint = match (wanted.conversion.entrypoint(), &base) {
        (Some(entrypoint), _) => entrypoint,
        (None, Some(base)) => default_entrypoint(cx, base).await?,
        (None, None) => Entrypoint::Script,
    };
    let mut spec = MergeSpec::new(&unit.app)
        .with_version(&unit.version)
        .with_convert(wanted.conversion.options()?.with_entrypoint(entrypoint));
    if let Some(default) = wanted.default.as_ref().or(manifest.default.as_ref()) {
        spec = spec.with_default(default);
    }
    if wanted.separate_versions {
        spec = spec.with_versions(Versions::Separate);
    }
    let inputs = sources.inputs(&manifest);
    let mut application = cx.blocking(move |cx| merge(&cx, inputs, &spec)).await?;
    let mut outcome = Outcome::new(&application.plan, &sources, wanted);
    if !wanted.to.is_empty() {
        outcome.built_on(&choose_base(wanted, &sources)?);
    }
    let mut target = None;
    if let Some(repository) = &wanted.publish {
        let specs = unit.publish_specs(wanted, &application.plan)?;
        target = Some((repository.clone(), specs));
    }
    if wanted.dry_run {
        return Ok(outcome);
    }

    let folder = tempfile::tempdir()?;
    let archive = match (&wanted.tgz, &target) {
        (Some(path), _) => Some(path.clone()),
        (None, Some(_)) => Some(folder.path().join(format!("{}.tgz", unit.app))),
        (None, None) => None,
    };
    if let Some(path) = &archive {
        if wanted.drop {
            outcome.dropped = application.drop_residue();
        }
        let (tree, path) = (application.tree.clone(), path.clone());
        let written = cx.blocking(move |cx| write_archive(&cx, &tree, &path));
        outcome.tgz = Some(written.await?);
    }
    if let Some(base) = &base {
        let layering = wanted.conversion.layering();
        let config = application.plan.image.clone();
        let files = cx
            .blocking(move |cx| {
                let layers = match layering {
                    Layering::Split(options) => named(application.into_layers(&cx, &options)?),
                    Layering::One(residue) => {
                        if residue == Residue::Drop {
                            application.drop_residue();
                        }
                        let name = application.plan.name.clone();
                        vec![(name, application.into_image_tree()?)]
                    }
                };
                LayerFiles::write(&cx, &layers)
            })
            .await?;
        let name = talend::naming::image_name(&unit.app)?;
        let name = format!("{name}:{}", talend::naming::image_tag(&unit.version)?);
        let (platform, to): (_, &[Place]) = (&wanted.platform, &wanted.to);
        let written = assemble(cx, registry, base, platform, &config, files, (to, &name));
        outcome.written = Some(written.await?);
    }
    if let (Some((repository, specs)), Some(path), Some(client)) = (target, archive, target_client)
    {
        for spec in specs {
            let archive = Archive {
                client: &client,
                repository: &repository,
                spec: &spec,
                path: &path,
            };
            outcome.published.push(publish::archive(cx, archive).await?);
        }
    }
    Ok(outcome)
}

fn read_manifest(wanted: &Wanted) -> Result<Manifest> {
    let name = wanted.manifest.display().to_string();
    let text = std::fs::read(&wanted.manifest).map_err(|error| {
        Failure::from(error)
            .context(format!("cannot read the manifest `{name}`"))
            .with_hint("name it by `-m FILE` or TALEND_PACKAGER_JOB_MANIFEST")
    })?;
    Ok(Manifest::parse(&name, &text)?)
}

/// The base that was asked for, else a JRE for the newest Studio among the jobs.
fn choose_base(wanted: &Wanted, sources: &Sources) -> Result<Base> {
    match &wanted.base {
        Some(base) => Ok(base.clone()),
        None => Ok(Base::Image(Place::Registry(sources.default_base()?))),
    }
}

async fn open_base(
    cx: &Cx,
    registry: &dyn Repositories,
    wanted: &Wanted,
    sources: &Sources,
) -> Result<OpenBase> {
    let base = choose_base(wanted, sources)?;
    base.open(cx, registry, &wanted.platform).await
}

/// Something that the command line lacks.
fn lacking(what: &str, hint: &str) -> Failure {
    Failure::new(Class::Invalid, format!("there is no {what}")).with_hint(hint)
}
