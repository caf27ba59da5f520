use std::{fmt, path::PathBuf};

use serde::{Serialize, Serializer};

use crate::{Located, Place};

/// A fault in a file of the user, and where it is.
pub type Problem = Located<Fault>;

/// What is wrong with a file of the user. [`Fault::hint`] tells what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// There is no such file.
    #[error("no such file")]
    NoFile,
    /// A file cannot be read.
    #[error("cannot be read: {message}")]
    Unreadable {
        /// What the system said.
        message: String,
    },
    /// A file is larger than is read.
    #[error("larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// No JSON (RFC 8259).
    #[error("not JSON: {message}")]
    Json {
        /// What the parser said.
        message: String,
    },
    /// A value of another type than expected.
    #[error("`{key}` is {found}, expected {expected}")]
    Type {
        /// Its key.
        key: String,
        /// What it is.
        found: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// An images file without images.
    #[error("no key `images`")]
    NoImages,
    /// A packer template without builders.
    #[error("no key `builders`")]
    NoBuilders,
    /// `builder_type` names no builder.
    #[error("unknown builder `{value}`, expected `packer`, `dockerfile` or `docker`")]
    BuilderType {
        /// What it names.
        value: String,
    },
    /// Neither the entry nor the directory gives a name.
    #[error("image has no name")]
    NoName,
    /// An entry for a Dockerfile does not say what the image is called.
    #[error("image has no `tag`")]
    NoTag,
    /// The name of an image does not follow the grammar.
    #[error("`{value}` is no name of an image: {expected}")]
    Reference {
        /// The name.
        value: String,
        /// What the grammar wants.
        expected: String,
    },
    /// An image that is built cannot be called by a digest.
    #[error("`{value}` names a digest, which is known only after the build")]
    Digest {
        /// The name.
        value: String,
    },
    /// Neither the entry nor its file name gives a version.
    #[error("image has no version")]
    NoVersion,
    /// `working_dir` is no directory.
    #[error("working directory `{}` is no directory", .path.display())]
    WorkingDir {
        /// The directory.
        path: PathBuf,
    },
    /// A `{field}` that cannot be filled in.
    #[error("`{key}`: {message}")]
    Format {
        /// The key whose value it is in.
        key: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// Arguments that only a shell understands, or with unbalanced quotes.
    #[error("`{key}` cannot be split into arguments: {message}")]
    Words {
        /// The key whose value it is.
        key: &'static str,
        /// What is in the way.
        message: String,
    },
    /// An argument that builds do not know.
    #[error("`{key}`: {message}")]
    Argument {
        /// The key whose value it is in.
        key: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// An image is to be built from a file that does not exist.
    #[error("{} `{}` of image `{image}` does not exist", .what, .path.display())]
    Dangling {
        /// `Dockerfile` or `packer template`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Key of the image.
        image: String,
    },
    /// A Dockerfile that cannot be understood.
    #[error("{message}")]
    Dockerfile {
        /// What is wrong, and what was expected.
        message: String,
    },
    /// A packer template that cannot be understood.
    #[error("{message}")]
    Template {
        /// What is wrong, and what was expected.
        message: String,
    },
    /// Two images would get the same name, so that the result depended on which is built last.
    #[error("image `{key}` makes `{tag}`, which image `{other}` also makes")]
    SameTag {
        /// The later one.
        key: String,
        /// The name.
        tag: String,
        /// The earlier one.
        other: String,
    },
    /// Images that need each other.
    #[error("images need each other: {}", .keys.join(" <- "))]
    Cycle {
        /// Each is the parent of the next; the last is the first again.
        keys: Vec<String>,
    },
}

impl Fault {
    /// What to do about it: a full sentence.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoFile => {
                "Run this in the directory that has the `docker` folder, or name the images file."
            }
            Self::Json { .. } => {
                "Images files and packer templates are strict JSON, without comments and trailing commas."
            }
            Self::NoImages => "Expected is an object: {\"images\": [{…}, …]}.",
            Self::BuilderType { .. } => "Leave `builder_type` out for packer.",
            Self::NoName => "Add `name`.",
            Self::NoTag => "Add `tag`, for example `corpusops/app:1.0`.",
            Self::Reference { .. } => "Names are [HOST[:PORT]/]PATH[:TAG], in lower case.",
            Self::Digest { .. } => "Name the image by a tag.",
            Self::NoVersion => "Add `version`, or a tag with a version.",
            Self::WorkingDir { .. } => "It is relative to the directory of the images file.",
            Self::Format { .. } => "Write `{{` and `}}` for braces that are none of a field.",
            Self::Words { .. } => {
                "Quote what is meant as it stands, and pass what a shell computed by a variable: `--build-arg V=$V`."
            }
            Self::Argument { .. } => "The arguments are those of `docker build`.",
            Self::Dangling { .. } => "Correct the entry's `file`, or remove the entry.",
            Self::SameTag { .. } => "Give one of them another tag, or remove it.",
            Self::Cycle { .. } => "Let one of them begin with an image from outside the chain.",
            _ => return None,
        })
    }
}

/// Something in a file of the user that is no fault but may surprise, and where it is.
pub type Note = Located<Remark>;

/// What may surprise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Remark {
    /// A key occurs twice in one object; as in Python, the last one counts.
    #[error("`{key}` is there twice, the last one counts")]
    RepeatedKey {
        /// The key.
        key: String,
    },
    /// An image is listed again: it keeps its first place and gets the last content.
    #[error("image `{key}` is listed again; this entry replaces the one at {first}")]
    RepeatedImage {
        /// Its key.
        key: String,
        /// Where it is listed first.
        first: String,
    },
    /// An image is listed before one that it uses; it is built after it nevertheless.
    #[error("image `{key}` is listed before its parent `{parent}`, and built after it")]
    ListedBeforeParent {
        /// Its key.
        key: String,
        /// Key of the parent.
        parent: String,
    },
    /// An image uses one of the chain that is not built this time.
    #[error("image `{key}` uses `{parent}`, which is not selected and taken as it is")]
    ParentNotSelected {
        /// Its key.
        key: String,
        /// Key of the parent.
        parent: String,
    },
    /// It cannot be told what an image uses.
    #[error("image `{key}` uses the image `{image}`, which cannot be known before the build")]
    UnknownParent {
        /// Its key.
        key: String,
        /// The image as it is written.
        image: String,
    },
    /// `--pull` would replace a parent that was just built by one of a registry.
    #[error("image `{key}` is built without `--pull`, for its parent `{parent}` is built here")]
    PullIgnored {
        /// Its key.
        key: String,
        /// Key of the parent.
        parent: String,
    },
    /// A packer template does not tell what its image is called, so that nothing can depend on it.
    #[error("packer template of image `{key}` does not tell the name of the image")]
    NoTemplateTag {
        /// Its key.
        key: String,
    },
}

/// `file`, `line`, `column`, `message`, `hint`.
impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize(serializer, &self.place, &self.what, self.what.hint())
    }
}

/// `file`, `line`, `column`, `message`.
impl Serialize for Note {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize(serializer, &self.place, &self.what, None)
    }
}

fn serialize<S: Serializer>(
    serializer: S,
    place: &Place,
    message: &dyn fmt::Display,
    hint: Option<&str>,
) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Flat<'a> {
        #[serde(flatten)]
        place: &'a Place,
        message: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<&'a str>,
    }
    let message = message.to_string();
    Flat {
        place,
        message,
        hint,
    }
    .serialize(serializer)
}
