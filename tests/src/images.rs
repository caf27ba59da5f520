//! Images of Talend applications, made from the libraries.

use std::{fs::File, io::BufWriter, path::Path, sync::Arc};

use ocicore::{Cx, FileBlob, Image, ImageBuilder, Layer};
use repack::layer;
use talend::{ImageConfig, application::Application, layers::LayerOptions};

/// An application as an image: its layers are written into `folder`, which must stay as long as the
/// image is read.
///
/// # Errors
/// Those of the libraries.
pub fn of(
    cx: &Cx,
    application: Application,
    options: &LayerOptions,
    mut builder: ImageBuilder,
    folder: &Path,
) -> Result<Image, Box<dyn std::error::Error + Send + Sync>> {
    let ImageConfig {
        entrypoint,
        env,
        labels,
        working_dir,
        user,
        ..
    } = application.plan.image.clone();
    for (at, part) in application
        .into_layers(cx, options)?
        .layers
        .into_iter()
        .enumerate()
    {
        let path = folder.join(format!("layer-{at}"));
        // For a while only: nothing has to be synced.
        let mut file = BufWriter::new(File::create(&path)?);
        let written = layer::write(cx, &part.tree, &layer::Options::default(), &mut file)?;
        let blob = FileBlob::described(written.descriptor(), path);
        builder =
            builder.append(Layer::new(Arc::new(blob), written.diff_id).with_created_by(part.name));
    }
    for (key, value) in &env {
        builder = builder.env(key, value);
    }
    for (key, value) in &labels {
        builder = builder.label(key, value);
    }
    let builder = builder
        .entrypoint(entrypoint)
        .working_dir(&working_dir)
        .user(&user);
    Ok(builder.build()?)
}
