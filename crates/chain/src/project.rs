//! All files that a plan is made of, read before anything is decided.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use ocicore::Cx;

use crate::{
    Error, Fault, Located, Note, Place, Problem, Result,
    error::Problems,
    file::{self, Image, Listed, Surroundings},
};

/// Largest images file, Dockerfile or packer template that is read, in bytes.
const LIMIT: u64 = 4 << 20;

/// Where the files of a chain are.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ProjectOptions {
    /// Root directory, name, environment.
    pub surroundings: Surroundings,
    /// The images files, relative to the root; where none is named, `IMAGES.json` of the docker
    /// folder.
    pub images_files: Vec<PathBuf>,
    /// Name of the docker folder; `docker`, which is looked for before `.docker`.
    pub docker_folder: PathBuf,
}

impl ProjectOptions {
    /// The usual files of a directory.
    pub fn of(root: impl Into<PathBuf>) -> Self {
        Self {
            surroundings: Surroundings::of(root),
            images_files: Vec::new(),
            docker_folder: PathBuf::from("docker"),
        }
    }

    /// Takes another images file.
    pub fn images_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.images_files.push(path.into());
        self
    }
}

/// The images of a chain and the texts that they are built from. Plain data: whoever has the texts
/// from elsewhere makes one by [`Project::new`].
#[derive(Clone, Debug)]
pub struct Project {
    pub(crate) root: PathBuf,
    pub(crate) images: Vec<Image>,
    pub(crate) files: BTreeMap<PathBuf, Found>,
    pub(crate) notes: Vec<Note>,
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Found {
    /// A file with this text.
    Text(String),
    /// A directory.
    Directory,
    /// Nothing.
    Missing,
    /// Something that cannot be read.
    Faulty(Fault),
}

impl Project {
    /// A project of what images files list. `find` tells what is at a path relative to `root`; it
    /// is asked for the file and the working directory of each image.
    ///
    /// # Errors
    /// All problems of the images files, and all working directories that are none.
    pub fn new(
        root: impl Into<PathBuf>,
        listed: Vec<Listed>,
        mut find: impl FnMut(&Path) -> Found,
    ) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let mut notes = Vec::new();
        let mut images = Vec::new();
        for mut file in listed {
            problems.append(&mut file.problems);
            notes.append(&mut file.notes);
            images.append(&mut file.images);
        }
        let (images, repeated) = file::collapse(images);
        notes.extend(repeated);
        let mut files = BTreeMap::new();
        for image in &images {
            for path in [&image.working_dir, &image.file] {
                files.entry(path.clone()).or_insert_with(|| find(path));
            }
            if files.get(&image.working_dir) != Some(&Found::Directory) {
                let path = image.working_dir.clone();
                problems.push(Located::new(
                    image.place.clone(),
                    Fault::WorkingDir { path },
                ));
            }
        }
        Problems::check(problems)?;
        Ok(Self {
            root: root.into(),
            images,
            files,
            notes,
        })
    }

    /// Reads all files of a project.
    ///
    /// # Errors
    /// [`Error::Problems`] with all that is wrong with the images files,
    /// [`Error::NoImagesFile`], [`Error::Cancelled`]. That a Dockerfile or a template is missing is
    /// for the plan to tell, since only the images that are selected need theirs.
    pub fn read(cx: &Cx, options: &ProjectOptions) -> Result<Self> {
        let root = &options.surroundings.root;
        let mut listed = Vec::new();
        for path in images_files(options)? {
            cx.check()?;
            listed.push(match find(root, &path) {
                Found::Text(text) => file::parse(&path, &text, &options.surroundings),
                found => {
                    let mut listed = Listed::default();
                    listed.problems.push(unreadable(&path, found));
                    listed
                }
            });
        }
        Ok(Self::new(root, listed, |path| find(root, path))?)
    }

    /// The images, each once, in the order of the files.
    pub fn images(&self) -> &[Image] {
        &self.images
    }

    /// The directory that all paths are relative to.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

/// The images files to read; the first docker folder that exists wins.
fn images_files(options: &ProjectOptions) -> Result<Vec<PathBuf>> {
    if !options.images_files.is_empty() {
        return Ok(options.images_files.clone());
    }
    let folder = &options.docker_folder;
    let hidden = match (folder.parent(), folder.file_name()) {
        (Some(parent), Some(name)) => parent.join(format!(".{}", name.to_string_lossy())),
        _ => folder.clone(),
    };
    let folders = [folder, &hidden];
    let found = folders
        .iter()
        .find(|folder| options.surroundings.root.join(folder).is_dir());
    match found {
        Some(folder) => Ok(vec![folder.join("IMAGES.json")]),
        None => {
            let tried = folders.map(|folder| format!("`{}`", folder.join("IMAGES.json").display()));
            Err(Error::NoImagesFile {
                tried: tried.join(", "),
            })
        }
    }
}

/// What is wrong with something that should be a text.
pub(crate) fn unreadable(path: &Path, found: Found) -> Problem {
    let fault = match found {
        Found::Faulty(fault) => fault,
        Found::Directory => Fault::Unreadable {
            message: "it is a directory".to_owned(),
        },
        Found::Missing | Found::Text(_) => Fault::NoFile,
    };
    Located::new(Place::file(path), fault)
}

/// What is at a path.
fn find(root: &Path, path: &Path) -> Found {
    let path = root.join(path);
    match fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => return Found::Directory,
        // Pipes and devices would be waited for.
        Ok(metadata) if !metadata.is_file() => {
            let message = "it is no regular file".to_owned();
            return Found::Faulty(Fault::Unreadable { message });
        }
        Ok(_) => {}
        Err(error) => return failed(&error),
    }
    let mut text = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(LIMIT + 1).read_to_end(&mut text));
    match read {
        Err(error) => failed(&error),
        Ok(_) if text.len() as u64 > LIMIT => Found::Faulty(Fault::TooLarge { limit: LIMIT }),
        Ok(_) => match String::from_utf8(text) {
            Ok(text) => Found::Text(text),
            Err(_) => Found::Faulty(Fault::Unreadable {
                message: "it is not UTF-8".to_owned(),
            }),
        },
    }
}

fn failed(error: &io::Error) -> Found {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Found::Missing,
        _ => Found::Faulty(Fault::Unreadable {
            message: error.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_texts_of_bounded_size_are_read() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        fs::write(path("text"), "FROM a").unwrap();
        fs::write(path("bytes"), b"\xff\xfe").unwrap();
        File::create(path("large"))
            .unwrap()
            .set_len(LIMIT + 1)
            .unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink("loop", path("loop")).unwrap();
        for (name, expected) in [
            ("text", "FROM a"),
            ("gone", "missing"),
            ("text/gone", "missing"),
            (".", "directory"),
            ("bytes", "cannot be read: it is not UTF-8"),
            ("large", "larger than 4194304 bytes"),
            #[cfg(unix)]
            ("/dev/null", "cannot be read: it is no regular file"),
            #[cfg(unix)]
            (
                "loop",
                "cannot be read: Too many levels of symbolic links (os error 40)",
            ),
        ] {
            let found = match find(root.path(), name.as_ref()) {
                Found::Text(text) => text,
                Found::Directory => "directory".to_owned(),
                Found::Missing => "missing".to_owned(),
                Found::Faulty(fault) => fault.to_string(),
            };
            assert_eq!(found, expected, "{name}");
        }
    }
}
