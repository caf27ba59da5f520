use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    sync::Arc,
};

use flate2::{Compression, write::GzEncoder};
use layerpkg::{
    Prefix, Result,
    install::{self, InstallSpec},
    publish::{self, PublishSpec},
};
use ocicore::{
    BytesBlob, Cx, Digest, Image, ImageBuilder, Layer, MediaType, MemoryRepositories, Platform,
    Reference, Repositories, copy,
};
use tempfile::TempDir;

/// Repositories in memory and a prefix.
pub(crate) struct House {
    pub(crate) cx: Cx,
    pub(crate) repositories: MemoryRepositories,
    pub(crate) prefix: Prefix,
    folder: TempDir,
}

impl House {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let shim = folder.path().join("shim");
        write_program(&shim, "#!/bin/sh\necho shim\n");
        Self {
            cx: Cx::default(),
            repositories: MemoryRepositories::default(),
            prefix: Prefix::new(folder.path().join("prefix")).with_shim(shim),
            folder,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A directory with programs in `bin`, each of which prints its name and `text`.
    pub(crate) fn package(&self, text: &str, tools: &[&str]) -> PathBuf {
        let directory = self.path(&format!("package-{text}"));
        fs::create_dir_all(directory.join("bin")).unwrap();
        fs::create_dir_all(directory.join("share/empty")).unwrap();
        fs::write(directory.join("share/data"), text).unwrap();
        symlink("../share/data", directory.join("bin/data")).unwrap();
        for tool in tools {
            let path = directory.join("bin").join(tool);
            write_program(&path, &format!("#!/bin/sh\necho {tool} {text} \"$@\"\n"));
        }
        directory
    }

    pub(crate) async fn publish(&self, directory: &Path, reference: &str) -> Digest {
        let spec = PublishSpec::new(directory, reference.parse().unwrap());
        let plan = publish::plan(&self.cx, &spec).await.unwrap();
        let done = publish::run(&self.cx, &self.repositories, plan).await;
        done.unwrap().digest
    }

    pub(crate) async fn install(&self, reference: &str) -> Result<install::Outcome> {
        self.install_as(&InstallSpec::new(reference.parse().unwrap()))
            .await
    }

    pub(crate) async fn install_as(&self, spec: &InstallSpec) -> Result<install::Outcome> {
        install_from(&self.cx, &self.prefix, &self.repositories, spec).await
    }

    pub(crate) async fn push(&self, image: Image, reference: &str) {
        let reference: Reference = reference.parse().unwrap();
        let store = self
            .repositories
            .repository(reference.repository())
            .unwrap();
        let root = copy::Root::tagged(*image.digest(), reference.tag().cloned());
        let options = copy::Options::default();
        let plan = copy::plan(&self.cx, &image, &*store, &[root], &options)
            .await
            .unwrap();
        copy::run(&self.cx, plan, Arc::new(image), store)
            .await
            .unwrap();
    }

    /// Everything that is visible: links and files, and nothing of the work in progress.
    pub(crate) fn visible(&self) -> Vec<String> {
        let mut names = Vec::new();
        for part in ["bin", "active", "packages", "store", "tools"] {
            list(&self.prefix.root().join(part), part, &mut names);
        }
        names
    }
}

pub(crate) async fn install_from(
    cx: &Cx,
    prefix: &Prefix,
    repositories: &dyn Repositories,
    spec: &InstallSpec,
) -> Result<install::Outcome> {
    let plan = install::plan(cx, prefix, repositories, spec).await?;
    install::run(cx, prefix, plan).await
}

pub(crate) fn list(directory: &Path, shown: &str, names: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    let mut entries: Vec<_> = entries.map(|entry| entry.unwrap()).collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let shown = format!("{shown}/{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            names.push(format!("{shown}/"));
            list(&entry.path(), &shown, names);
        } else if kind.is_symlink() {
            let target = fs::read_link(entry.path()).unwrap();
            names.push(format!("{shown} -> {}", target.display()));
        } else if shown.ends_with(".json") {
            // Its mode is as the umask says.
            names.push(shown);
        } else {
            let mode = entry.metadata().unwrap().permissions().mode() & 0o7777;
            names.push(format!("{shown} {mode:o}"));
        }
    }
}

pub(crate) fn write_program(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

/// An image of tars, packed by gzip.
pub(crate) fn image(tars: &[Vec<u8>]) -> Image {
    let layers = tars.iter().map(|tar| layer(tar));
    let builder = ImageBuilder::scratch(&Platform::host());
    layers.fold(builder, ImageBuilder::append).build().unwrap()
}

pub(crate) fn layer(tar: &[u8]) -> Layer {
    let blob = BytesBlob::new(MediaType::OCI_LAYER_GZIP, gzip(tar));
    Layer::new(Arc::new(blob), Digest::of(tar))
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;

    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A tar of what `fill` appends.
pub(crate) fn tar(fill: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    fill(&mut builder);
    builder.into_inner().unwrap()
}

/// A header with any name and link, also those that the builder would refuse.
pub(crate) fn header(kind: tar::EntryType, name: &str, link: &str, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(size);
    let old = header.as_old_mut();
    old.name[..name.len()].copy_from_slice(name.as_bytes());
    old.linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_cksum();
    header
}
