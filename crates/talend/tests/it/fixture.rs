//! A built job as a tree, laid out as the Studio does.

use std::{
    fs,
    io::{Cursor, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use bytes::Bytes;
use repack::{Entry, Kind, Tree};
use zip::{ZipWriter, write::SimpleFileOptions};

pub(crate) const LAUNCHER: &str = "#!/bin/sh\ncd `dirname $0`\nROOT_PATH=`pwd`\njava -Xms256M \
    -Xmx1024M -cp .:$ROOT_PATH:$ROOT_PATH/../lib/routines.jar:$ROOT_PATH/../lib/dom4j-1.6.1.jar:\
    $ROOT_PATH/load_0_1.jar: demo.load_0_1.load  --context=Default \"$@\" ";
pub(crate) const BATCH: &str = "%~d0\r\ncd %~dp0\r\njava -cp .;../lib/routines.jar;\
    ../lib/myroutines.jar;load_0_1.jar; demo.load_0_1.load  --context=Default %* ";
pub(crate) const POWERSHELL: &str = "$fileDir = Split-Path -Parent $MyInvocation.MyCommand.Path\n\
    cd $fileDir\njava -cp '.;../lib/routines.jar;load_0_1.jar;' demo.load_0_1.load %* ";
pub(crate) const JOB_INFO: &str = "#just for tac\njob=load\njobVersion=0.1\n\
    date=2018-07-17 095421606\ncontextName=Default\njobType=Standard\nframework=\nproject=DEMO\n\
    branch=master\ncmdLineVersion=7.0.1.20180411_1414\n";

/// Job `load` 0.1 of Studio 7.0.1.
pub(crate) fn job() -> Tree {
    tree(&[
        ("jobInfo.properties", JOB_INFO),
        ("lib/routines.jar", "routines"),
        ("lib/dom4j-1.6.1.jar", "dom4j"),
        ("load/load_run.sh", LAUNCHER),
        ("load/load_run.bat", BATCH),
        ("load/load_run.ps1", POWERSHELL),
        ("load/load_0_1.jar", "job"),
        ("load/log4j.xml", "<x/>"),
        (
            "load/demo/load_0_1/contexts/Default.properties",
            "#c\r\nmessage=hello\r\n",
        ),
        (
            "load/demo/load_0_1/contexts/Production.properties",
            "message=live\r\n",
        ),
        ("load/demo/child_0_2/contexts/Default.properties", "x=1\r\n"),
        (
            "load/src/main/resources/demo/load_0_1/contexts/Default.properties",
            "x=2\r\n",
        ),
    ])
}

pub(crate) fn tree(files: &[(&str, &str)]) -> Tree {
    let mut tree = Tree::new();
    for (path, text) in files {
        insert(&mut tree, path, (*text).to_owned());
    }
    tree
}

pub(crate) fn insert(tree: &mut Tree, path: &str, content: impl Into<repack::Content>) {
    tree.insert(path.parse().unwrap(), Entry::file(content))
        .unwrap();
}

pub(crate) fn text(tree: &Tree, path: &str) -> String {
    let bytes = tree.read(&path.parse().unwrap(), 1 << 20).unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub(crate) fn jar(files: &[(&str, &[u8])]) -> Bytes {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        writer
            .start_file(*name, SimpleFileOptions::default())
            .unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner().into()
}

/// Writes the files of an image below `root`, which takes the place of `/` in scripts.
pub(crate) fn unpack(tree: &Tree, root: &Path) {
    for (path, entry) in tree {
        let to = root.join(path.to_str().unwrap());
        match &entry.kind {
            Kind::Dir => fs::create_dir_all(&to).unwrap(),
            Kind::File(content) => {
                let bytes = content.read(1 << 30).unwrap().to_vec();
                let root = root.to_str().unwrap();
                let bytes = match String::from_utf8(bytes) {
                    Ok(script) if to.starts_with(Path::new(root).join("talend/bin")) => script
                        .replace("/talend", &format!("{root}/talend"))
                        .into_bytes(),
                    Ok(text) => text.into_bytes(),
                    Err(error) => error.into_bytes(),
                };
                fs::write(&to, bytes).unwrap();
                let mode = fs::Permissions::from_mode(entry.metadata.mode);
                fs::set_permissions(&to, mode).unwrap();
            }
            Kind::Symlink(target) => {
                let target = Path::new(std::str::from_utf8(target).unwrap());
                std::os::unix::fs::symlink(target, &to).unwrap();
            }
            other => panic!("{other:?}"),
        }
    }
}
