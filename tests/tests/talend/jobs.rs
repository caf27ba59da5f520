//! Jobs that tests compile, and jobs that a Studio built.

use std::{
    fs,
    io::{Cursor, Write},
    path::Path,
};

use bytes::Bytes;
use e2e::tool;
use ocicore::{Cx, SizeLimits};
use repack::{Content, Entry, Tree};
use talend::application::JobInput;
use zip::{ZipWriter, write::SimpleFileOptions};

/// Files by their paths.
pub(crate) type Files = Vec<(String, Vec<u8>)>;

/// Classes of these sources, each a file name and a text, compiled on the class path `on`.
pub(crate) fn classes(javac: &str, sources: &[(&str, &str)], on: &[&Files]) -> Files {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for (path, bytes) in on.iter().copied().flatten() {
        write(&folder.path().join("on").join(path), bytes);
    }
    for (file, text) in sources {
        write(&folder.path().join("src").join(file), text.as_bytes());
    }
    fs::create_dir_all(path("on")).unwrap();
    let mut args = ["--release", "11", "-cp", &path("on"), "-d", &path("out")]
        .map(str::to_owned)
        .to_vec();
    args.extend(sources.iter().map(|(file, _)| path(&format!("src/{file}"))));
    tool(javac, args);
    let mut found = Files::new();
    collect(&folder.path().join("out"), "", &mut found);
    found.sort();
    found
}

/// A jar with a main class, if there is one, and a class path.
pub(crate) fn jar(files: &Files, main: &str, class_path: &str) -> Bytes {
    let mut jar = ZipWriter::new(Cursor::new(Vec::new()));
    let mut add = |path: &str, bytes: &[u8]| {
        jar.start_file(path, SimpleFileOptions::default()).unwrap();
        jar.write_all(bytes).unwrap();
    };
    let mut manifest = "Manifest-Version: 1.0\r\n".to_owned();
    for (key, value) in [("Main-Class", main), ("Class-Path", class_path)] {
        if !value.is_empty() {
            manifest.push_str(&format!("{key}: {value}\r\n"));
        }
    }
    add("META-INF/MANIFEST.MF", manifest.as_bytes());
    for (path, bytes) in files {
        add(path, bytes);
    }
    jar.finish().unwrap().into_inner().into()
}

/// A built job of that name with these files.
pub(crate) fn job(name: &str, launcher: &[u8], files: &[(&str, Content)]) -> JobInput {
    let mut tree = Tree::new();
    let mut add = |path: &str, content: Content| {
        tree.insert(path.parse().unwrap(), Entry::file(content))
            .unwrap();
    };
    let info = format!("job={name}\njobVersion=0.1\ncontextName=Default\nproject=DEMO\n");
    add("jobInfo.properties", info.into());
    add(&format!("{name}/{name}_run.sh"), launcher.to_vec().into());
    for (path, content) in files {
        add(path, content.clone());
    }
    JobInput::new(format!("{name}_0.1.zip"), tree)
}

/// A job from a zip.
pub(crate) fn built(zip: &Path) -> JobInput {
    let tree = repack::zip::open(&Cx::default(), zip, &SizeLimits::default()).unwrap();
    let name = zip.file_name().unwrap().to_str().unwrap();
    JobInput::new(name, tree)
}

fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn collect(folder: &Path, prefix: &str, found: &mut Files) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            collect(&entry.path(), &format!("{path}/"), found);
        } else {
            found.push((path, fs::read(entry.path()).unwrap()));
        }
    }
}
