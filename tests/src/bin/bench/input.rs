//! Inputs, made once and kept in `target/bench`.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process::Command,
};

use crate::Result;

/// Debian's packages whose jars stand for the libraries of Talend jobs.
const JARS: &[&str] = &[
    "libmaven3-core-java",
    "libbcprov-java",
    "clojure",
    "scala",
    "libtomcat10-java",
    "libbatik-java",
    "libbiojava5-java",
    "libactivemq-java",
    "libderby-java",
    "libjfreechart-java",
    "jruby",
    "libfastutil-java",
    "libicu4j-java",
    "libjetty9-java",
    "liblucene8-java",
    "libcdk-java",
    "libjgit-java",
    "groovy",
    "libproguard-java",
    "libeclipse-jdt-core-java",
    "libclosure-compiler-java",
    "liblog4j2-java",
    "libgradle-core-java",
    "libh2-java",
    "libxerces2-java",
    "libfop-java",
    "libspring-core-java",
    "libxalan2-java",
    "libmariadb-java",
    "libapache-poi-java",
    "libpdfbox2-java",
    "libaspectj-java",
    "libguava-java",
    "libjts-java",
    "libsaxon-java",
    "libzookeeper-java",
];

/// Debian's packages whose sources stand for small files of text.
const TEXTS: &[&str] = &["golang-1.19-src", "libboost1.74-dev"];

/// Where inputs are kept.
pub(crate) fn folder() -> Result<PathBuf> {
    let folder = e2e::root().join("target/bench");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// A zip shaped as a Talend job's, of at most `limit` bytes of Debian's jars.
pub(crate) fn talend_like(folder: &Path, limit: u64) -> Result<PathBuf> {
    zipped(folder, &format!("jars-{limit}"), |tree| {
        let mut jars = BTreeMap::new();
        let root = packages(&folder.join("jars"), JARS)?;
        walk(&root, &mut |path| {
            if let (Some(name), Some("jar")) = (path.file_name(), extension(path)) {
                jars.insert(name.to_owned(), path.to_owned());
            }
            Ok(())
        })?;
        fs::create_dir_all(tree.join("lib"))?;
        fs::create_dir_all(tree.join("MyJob/gantry/myjob_0_1/contexts"))?;
        let mut sum = 0;
        for (name, path) in jars {
            let size = fs::metadata(&path)?.len();
            if sum + size <= limit {
                fs::copy(&path, tree.join("lib").join(name))?;
                sum += size;
            }
        }
        let launcher = "#!/bin/sh\ncd `dirname $0`\nROOT_PATH=`pwd`\njava -Xms256M -cp \
            .:$ROOT_PATH:$ROOT_PATH/../lib/* gantry.MyJob  --context=Default \"$@\" ";
        fs::write(tree.join("MyJob/MyJob_run.sh"), launcher)?;
        fs::write(
            tree.join("MyJob/gantry/myjob_0_1/contexts/Default.properties"),
            "a=1\n",
        )?;
        Ok(fs::write(
            tree.join("jobInfo.properties"),
            "job=MyJob\njobVersion=0.1\n",
        )?)
    })
}

/// A zip of many small files of text: sources in C++ and Go.
pub(crate) fn texts(folder: &Path, files: usize) -> Result<PathBuf> {
    zipped(folder, &format!("sources-{files}"), |tree| {
        let root = packages(&folder.join("texts"), TEXTS)?;
        let mut texts = Vec::new();
        walk(&root, &mut |path| {
            if let Some("go" | "h" | "hpp" | "ipp" | "s" | "txt") = extension(path) {
                texts.push(path.strip_prefix(&root)?.to_owned());
            }
            Ok(())
        })?;
        texts.sort_unstable();
        if texts.len() < files {
            return Err(format!("the packages have only {} texts", texts.len()).into());
        }
        // Every now and then one is left out, so that all kinds are in it.
        for n in 0..files {
            let text = &texts[n * texts.len() / files];
            let to = tree.join(text);
            fs::create_dir_all(to.parent().ok_or("it lies in the tree")?)?;
            fs::copy(root.join(text), to)?;
        }
        Ok(())
    })
}

/// A zip of a few large files, half of whose content does not shrink.
pub(crate) fn large(folder: &Path, files: u32, size: u64) -> Result<PathBuf> {
    zipped(folder, &format!("halves-{files}-{size}"), |tree| {
        let mut random = Random(11);
        for n in 0..files {
            let mut out = BufWriter::new(fs::File::create(tree.join(format!("{n}.bin")))?);
            let mut written = 0;
            while written < size {
                for _ in 0..8192 {
                    out.write_all(&random.next().to_le_bytes())?;
                }
                let mut log = Vec::with_capacity(66_000);
                while log.len() < 65_536 {
                    write_line(&mut log, &mut random)?;
                }
                out.write_all(&log[..65_536])?;
                written += 2 * 65_536;
            }
            out.flush()?;
        }
        Ok(())
    })
}

/// Makes a tree and zips it, unless the zip is there.
fn zipped(folder: &Path, name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let zip = folder.join(format!("{name}.zip"));
    if !zip.exists() {
        eprintln!("making {name}.zip");
        let tree = folder.join(name);
        if tree.exists() {
            fs::remove_dir_all(&tree)?;
        }
        fs::create_dir_all(&tree)?;
        make(&tree)?;
        let half = folder.join(format!("half-{name}.zip"));
        run(Command::new("zip")
            .args(["-q", "-r", "-X"])
            .arg(&half)
            .arg(".")
            .current_dir(&tree))?;
        fs::remove_dir_all(&tree)?;
        fs::rename(half, &zip)?;
    }
    Ok(zip)
}

/// Downloads and unpacks packages of Debian; returns where their files are.
fn packages(folder: &Path, names: &[&str]) -> Result<PathBuf> {
    fs::create_dir_all(folder)?;
    run(Command::new("apt-get")
        .args(["download", "-q"])
        .args(names)
        .current_dir(folder))?;
    let root = folder.join("root");
    for deb in fs::read_dir(folder)? {
        let deb = deb?.path();
        let is_asked_for = names.iter().any(|name| {
            let file = deb.file_name().and_then(|name| name.to_str());
            file.is_some_and(|file| file.starts_with(&format!("{name}_")))
        });
        if is_asked_for {
            run(Command::new("dpkg").arg("-x").arg(&deb).arg(&root))?;
        }
    }
    Ok(root)
}

/// Calls `found` for all regular files.
fn walk(folder: &Path, found: &mut dyn FnMut(&Path) -> Result<()>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let kind = entry.file_type()?;
        if kind.is_dir() {
            walk(&path, found)?;
        } else if kind.is_file() {
            found(&path)?;
        }
    }
    Ok(())
}

fn extension(path: &Path) -> Option<&str> {
    path.extension()?.to_str()
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{command:?}: {status}").into())
    }
}

/// A line as of a server's log, which shrinks as these do.
fn write_line(out: &mut impl Write, random: &mut Random) -> Result<()> {
    let n = random.next();
    let paths = ["index.html", "api/v1/items", "static/site.css", "login"];
    let path = paths[usize::from(n.to_le_bytes()[0] & 3)];
    Ok(writeln!(
        out,
        "10.0.{}.{} - - [21/Nov/2026:12:{:02}:{:02} +0000] \"GET /{path}?id={} HTTP/1.1\" 200 {}",
        n >> 8 & 7,
        n >> 16 & 0xff,
        n >> 24 & 31,
        n >> 32 & 31,
        n >> 40 & 0xfff,
        n >> 54,
    )?)
}

/// xorshift64* (Vigna 2016): the same input on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
}
