use super::{Image, ImageBuilder};
use crate::{Error, Result};

impl Image {
    /// The same image on another base: the layers of `old`, which must be its bottom, give way to
    /// those of `new`. Config and annotations stay this image's own; platform and the history of
    /// the base come from `new`.
    ///
    /// # Errors
    /// [`Error::Document`] if `old` is not what this image was built on.
    ///
    /// Source of the behaviour: `crane rebase`.
    pub fn rebase(&self, old: &Self, new: &Self) -> Result<Self> {
        let depth = old.config().diff_ids().len();
        if !self
            .config()
            .diff_ids()
            .starts_with(old.config().diff_ids())
        {
            return Err(Error::Document {
                what: "config",
                digest: (*self.digest()).into(),
                source: format!("its bottom layers are not those of `{}`", old.digest()).into(),
            });
        }
        let mut builder = ImageBuilder::from_base(new)?;
        let own = self.config().json();
        let steps = own_history(self, old);
        builder = builder.edit_config(|config| {
            if let Some(execution) = own.get("config") {
                config.insert("config".to_owned(), execution.clone());
            }
            let history = config
                .entry("history")
                .or_insert_with(|| serde_json::json!([]));
            if let Some(history) = history.as_array_mut() {
                history.extend(steps);
            }
        });
        for layer in self.layers()?.into_iter().skip(depth) {
            builder.push(&layer);
        }
        builder.annotations = self.manifest().links()?.annotations;
        builder.build()
    }
}

/// The history of what this image has beyond its base.
fn own_history(image: &Image, base: &Image) -> Vec<serde_json::Value> {
    let steps = |image: &Image| {
        let history = image
            .config()
            .json()
            .get("history")
            .and_then(|h| h.as_array());
        history.cloned().unwrap_or_default()
    };
    let base_steps = steps(base).len();
    steps(image).into_iter().skip(base_steps).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::{Blob, BytesBlob, ImageBuilder, Layer, MediaType, Platform};

    fn layer(text: &'static str) -> Layer {
        let blob = BytesBlob::new(MediaType::OCI_LAYER, text);
        let diff_id = *blob.descriptor().digest();
        Layer::new(Arc::new(blob), diff_id).with_created_by(text)
    }

    #[test]
    fn a_base_is_swapped() {
        let platform = Platform::new("linux", "amd64");
        let base = |text| {
            ImageBuilder::scratch(&platform)
                .append(layer(text))
                .env("BASE", text)
                .build()
                .unwrap()
        };
        let (old, new) = (base("old"), base("new"));
        let on = |base| {
            let builder = ImageBuilder::from_base(base).unwrap().append(layer("app"));
            builder
                .entrypoint(["/app"])
                .annotation("a", "b")
                .build()
                .unwrap()
        };
        let rebased = on(&old).rebase(&old, &new).unwrap();
        assert_eq!(rebased.config().diff_ids(), on(&new).config().diff_ids());
        assert_eq!(rebased.config().entrypoint(), ["/app"]);
        assert_eq!(
            rebased.config().env(),
            ["BASE=old"],
            "the image's own config stays"
        );
        assert_eq!(
            rebased.config().json()["history"],
            on(&new).config().json()["history"]
        );
        let error = on(&new).rebase(&old, &new).unwrap_err();
        assert!(
            error.to_string().starts_with("cannot read the config"),
            "{error}"
        );
    }
}
