use std::{str::FromStr, sync::Arc};

use ocicore::{Blob, Cx, Image, Platform, Reader, Reference, Repositories, SizeLimits};
use repack::{EntryPath, tar};

use crate::{Place, Result, images::Opened};

/// What an image is built on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// Nothing.
    Scratch,
    /// An image.
    Image(Place),
}

/// A base, opened: its files live as long as this.
#[derive(Debug)]
pub struct OpenBase(Option<(Place, Opened)>);

impl Base {
    /// Opens the image for a platform.
    ///
    /// # Errors
    /// Those of the place.
    pub async fn open(
        self,
        cx: &Cx,
        registry: &dyn Repositories,
        platform: &Platform,
    ) -> Result<OpenBase> {
        match self {
            Self::Scratch => Ok(OpenBase(None)),
            Self::Image(place) => {
                let opened = place.open(cx, registry, platform).await?;
                Ok(OpenBase(Some((place, opened))))
            }
        }
    }
}

impl Base {
    /// What a user should know who builds an image on it.
    pub fn warning(&self) -> Option<&'static str> {
        match self {
            Self::Scratch => Some(
                "the image is built on nothing: it holds neither a shell nor java to run the \
                 launcher",
            ),
            Self::Image(_) => None,
        }
    }
}

impl std::fmt::Display for Base {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Scratch => f.write_str("scratch"),
            Self::Image(place) => place.fmt(f),
        }
    }
}

/// `scratch`, a reference into a registry, or a place by its transport.
impl FromStr for Base {
    type Err = ocicore::Error;

    fn from_str(input: &str) -> Result<Self, Self::Err> {
        if input == "scratch" {
            return Ok(Self::Scratch);
        }
        let place = input.parse::<Place>();
        place
            .or_else(|error| match input.parse::<Reference>() {
                Ok(reference) => Ok(Place::Registry(reference)),
                Err(_) => Err(error),
            })
            .map(Self::Image)
    }
}

impl OpenBase {
    /// The image, and where it was found.
    pub fn image(&self) -> Option<(&Place, &Image)> {
        self.0
            .as_ref()
            .map(|(place, opened)| (place, &opened.image))
    }

    /// Whether the base has `/bin/sh`. What the config says is believed, where it shows that a shell
    /// has run; else the layers are read. Of nothing it is not known: something may come below it.
    ///
    /// # Errors
    /// If a layer cannot be read.
    pub async fn has_shell(&self, cx: &Cx) -> Result<Option<bool>> {
        let Some((_, image)) = self.image() else {
            return Ok(None);
        };
        if ran_a_shell(image) {
            return Ok(Some(true));
        }
        // The uppermost layer first, as it is the last word on a path.
        for layer in image.layers()?.iter().rev() {
            if layer_has_shell(cx, layer.blob()).await? {
                return Ok(Some(true));
            }
        }
        Ok(Some(false))
    }
}

/// Whether a `RUN` of the image's history was by a shell; `#(nop)` marks steps that ran nothing.
fn ran_a_shell(image: &Image) -> bool {
    let history = image.config().json().get("history");
    let steps = history.and_then(|history| history.as_array());
    steps.into_iter().flatten().any(|step| {
        let by = step.get("created_by").and_then(|by| by.as_str());
        by.is_some_and(|by| {
            let command = by.strip_prefix("RUN ").unwrap_or(by);
            let command = command.rsplit_once("|").map_or(command, |(_, rest)| rest);
            command.contains("/bin/sh -c ") && !command.contains("#(nop)")
        })
    })
}

async fn layer_has_shell(cx: &Cx, blob: &Arc<dyn Blob>) -> Result<bool> {
    let blob = Arc::clone(blob);
    cx.blocking(move |cx| {
        let limits = SizeLimits::default();
        let tree = match blob.file() {
            Some(path) => tar::open(&cx, path, &limits)?,
            None => {
                let mut spool = tempfile::NamedTempFile::new()?;
                let mut reader = Reader::new(&cx, blob.open(0..blob.descriptor().size()));
                std::io::copy(&mut reader, &mut spool)?;
                tar::open(&cx, spool.path(), &limits)?
            }
        };
        let has = |path: &str| {
            let path = path.parse::<EntryPath>();
            path.is_ok_and(|path| tree.contains(&path))
        };
        // Where `/bin` is a link to `/usr/bin`.
        Ok(has("bin/sh") || has("usr/bin/sh"))
    })
    .await
}

#[cfg(test)]
mod tests {
    use ocicore::ImageBuilder;

    use super::*;

    fn image(steps: &[&str]) -> Image {
        let history: Vec<_> = steps
            .iter()
            .map(|step| serde_json::json!({ "created_by": step, "empty_layer": true }))
            .collect();
        ImageBuilder::scratch(&Platform::host())
            .edit_config(|config| {
                config.insert("history".to_owned(), history.into());
            })
            .build()
            .unwrap()
    }

    #[test]
    fn a_shell_that_ran_is_there() {
        for (step, expected) in [
            ("RUN /bin/sh -c apt-get update # buildkit", true),
            ("RUN |1 VERSION=3 /bin/sh -c make # buildkit", true),
            ("/bin/sh -c apt-get update", true),
            ("/bin/sh -c #(nop) ADD file:1 in / ", false),
            ("COPY /app /app # buildkit", false),
            ("bazel build ...", false),
        ] {
            assert_eq!(ran_a_shell(&image(&[step])), expected, "{step}");
        }
    }

    #[tokio::test]
    async fn where_nothing_is_known_the_layers_are_read() {
        use ocicore::{FileBlob, Layer};
        use repack::{Entry, Tree, layer};

        let cx = Cx::default();
        let folder = tempfile::tempdir().unwrap();
        for (file, expected) in [("bin/sh", true), ("usr/bin/sh", true), ("bin/java", false)] {
            let mut tree = Tree::new();
            tree.insert(file.parse().unwrap(), Entry::file("x"))
                .unwrap();
            let path = folder.path().join(file.replace('/', "-"));
            let written =
                repack::into_layer(&cx, &tree, &layer::Options::default(), &path).unwrap();
            let blob = Arc::new(FileBlob::described(written.descriptor(), path));
            let image = ImageBuilder::scratch(&Platform::host())
                .append(Layer::new(blob, written.diff_id))
                .build()
                .unwrap();
            let opened = Opened::of(image);
            let base = OpenBase(Some((Place::Layout("x".into(), None), opened)));
            assert_eq!(base.has_shell(&cx).await.unwrap(), Some(expected), "{file}");
        }
        assert_eq!(OpenBase(None).has_shell(&cx).await.unwrap(), None);
    }
}
