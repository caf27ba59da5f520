//! The other systems, each in a step or two.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use chain::{EngineBuilder, Project, ProjectOptions, RunOptions, Selection};
use gating::{promote, temp_tag::Prefix, upload};
use layerpkg::{
    install::{self, InstallSpec},
    publish::{self, PublishSpec},
    shim,
};
use ocicore::{Cx, Reference, Repositories};

use super::{Steps, failure};
use crate::{Result, connect};

/// Gating: the image, uploaded under a temporary tag before a change merges, gets its final tag
/// after it, by its manifest alone.
pub(super) async fn gate(
    cx: &Cx,
    registry: &dyn Repositories,
    built: &Reference,
    steps: &mut Steps,
) -> Result<()> {
    let final_name: Reference =
        format!("{}/released/sample:1", built.repository().host()).parse()?;
    let images = [upload::Image::new(built.clone(), final_name.clone())?];
    let prefix = Prefix::change(1234, "2", "a1b2c3")?;
    let plan = upload::plan(cx, registry, registry, &prefix, &images).await?;
    let record = upload::run(cx, plan, registry, registry).await?;
    let artifact = record
        .artifacts()
        .first()
        .ok_or_else(|| failure("nothing was recorded"))?;
    steps.add(
        "upload",
        format!("change 1234 as {}", artifact.temporary()),
        None,
        0,
    );
    let plan = promote::plan(cx, registry, record.artifacts()).await?;
    promote::run(cx, &plan, registry).await?;
    let store = registry.repository(final_name.repository())?;
    let released = store.resolve(cx, &final_name.name()).await?;
    steps.add(
        "promote",
        format!("as {final_name}"),
        Some(*released.digest()),
        released.size(),
    );
    Ok(())
}

/// Packages: a directory is published, installed and switched to.
pub(super) async fn package(
    cx: &Cx,
    registry: &dyn Repositories,
    host: &str,
    folder: &Path,
    steps: &mut Steps,
) -> Result<()> {
    let directory = folder.join("engine");
    let tool = directory.join("bin/hello");
    fs::create_dir_all(directory.join("bin"))?;
    fs::write(&tool, "#!/bin/sh\necho hello\n")?;
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755))?;
    let reference: Reference = format!("{host}/packages/engine:1.0").parse()?;
    let plan = publish::plan(cx, &PublishSpec::new(&directory, reference.clone())).await?;
    let published = publish::run(cx, registry, plan).await?;
    steps.add(
        "publish",
        format!("a directory as {reference}"),
        Some(published.digest),
        0,
    );
    let prefix = layerpkg::Prefix::new(folder.join("prefix")).with_shim(tool);
    let plan = install::plan(cx, &prefix, registry, &InstallSpec::new(reference)).await?;
    let installed = install::run(cx, &prefix, plan).await?;
    let target = shim::resolve(&prefix.bin().join("hello"))?;
    if !target.exists() {
        return Err(failure("the tool of the package is not there"));
    }
    steps.add(
        "install",
        "and `hello` is its tool".to_owned(),
        Some(installed.digest),
        0,
    );
    Ok(())
}

/// Chains: two images, listed child first, are built in the right order; only if there is an
/// engine.
pub(super) async fn chain(cx: &Cx, folder: &Path, steps: &mut Steps) -> Result<()> {
    let engine = match connect(cx, "demo").await {
        Ok(engine) => engine,
        Err(error) => {
            steps.add("chain", format!("not shown: {error}"), None, 0);
            return Ok(());
        }
    };
    let root = folder.join("chain");
    fs::create_dir_all(root.join("docker"))?;
    let name = format!("gantry-demo-{}", std::process::id());
    let images = serde_json::json!({"images": [
        {"tag": format!("{name}/child:1"), "dockerfile": "Dockerfile.child"},
        {"tag": format!("{name}/parent:1"), "dockerfile": "Dockerfile.parent"},
    ]});
    fs::write(root.join("docker/IMAGES.json"), images.to_string())?;
    fs::write(root.join("hello.txt"), "hello\n")?;
    fs::write(
        root.join("Dockerfile.parent"),
        "FROM scratch\nCOPY hello.txt /\n",
    )?;
    fs::write(
        root.join("Dockerfile.child"),
        format!("FROM {name}/parent:1\nLABEL child=1\n"),
    )?;
    let project = Project::read(cx, &ProjectOptions::of(&root))?;
    let plan = chain::plan(&project, &Selection::all())?;
    let builder = EngineBuilder::new(Arc::clone(&engine), project.root());
    let report = chain::run(cx, &plan, &builder, &RunOptions::default()).await?;
    crate::imgchain::check(&report)?;
    let order: Vec<_> = plan.steps.iter().map(chain::Step::label).collect();
    steps.add("chain", order.join(", then "), None, 0);
    for step in plan.steps.iter().rev() {
        let image = step.label().parse::<Reference>()?.into();
        engine.remove_image(cx, &image).await?;
    }
    Ok(())
}
