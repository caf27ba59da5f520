use ocicore::Reference;

use crate::{Error, Result, file::Image};

/// Which images to build: those that are named, all if none is, without those to skip.
///
/// An image is named by its key or its tag.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Selection {
    /// Only these.
    pub images: Vec<String>,
    /// Not these.
    pub skip: Vec<String>,
}

impl Selection {
    /// All images.
    pub fn all() -> Self {
        Self::default()
    }

    /// Only these images, with those already named.
    pub fn only<T: Into<String>>(mut self, images: impl IntoIterator<Item = T>) -> Self {
        self.images.extend(images.into_iter().map(Into::into));
        self
    }

    /// Without these images, and those already named.
    pub fn without<T: Into<String>>(mut self, images: impl IntoIterator<Item = T>) -> Self {
        self.skip.extend(images.into_iter().map(Into::into));
        self
    }

    /// Whether each image is selected. `tags` are all names that each will get.
    ///
    /// # Errors
    /// [`Error::UnknownImages`].
    pub(crate) fn apply(&self, images: &[Image], tags: &[Vec<Reference>]) -> Result<Vec<bool>> {
        let named = |name: &String| -> Vec<usize> {
            let reference = name.parse::<Reference>().ok();
            let hit = |(image, tags): (&Image, &Vec<Reference>)| {
                image.key == *name
                    || image.written_tag.as_ref() == Some(name)
                    || reference
                        .as_ref()
                        .is_some_and(|reference| tags.contains(reference))
            };
            let hits = images.iter().zip(tags).map(hit).enumerate();
            hits.filter(|(_, hit)| *hit)
                .map(|(index, _)| index)
                .collect()
        };
        let all = self.images.iter().chain(&self.skip);
        let names: Vec<_> = all.filter(|name| named(name).is_empty()).cloned().collect();
        if !names.is_empty() {
            let known = images.iter().map(|image| image.key.clone()).collect();
            return Err(Error::UnknownImages { names, known });
        }
        let mut selected = vec![self.images.is_empty(); images.len()];
        for (names, value) in [(&self.images, true), (&self.skip, false)] {
            for name in names {
                for index in named(name) {
                    selected[index] = value;
                }
            }
        }
        Ok(selected)
    }
}
