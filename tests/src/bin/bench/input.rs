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
    "kotlin",
    "libjetty9-java",
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

/// Where inputs are kept.
pub(crate) fn folder() -> Result<PathBuf> {
    let folder = e2e::root().join("target/bench");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// A zip shaped as a Talend job's, of at most `limit` bytes of Debian's jars.
pub(crate) fn talend_like(folder: &Path, limit: u64) -> Result<PathBuf> {
    zipped(folder, &format!("talend-{limit}"), |tree| {
        let downloads = folder.join("jars");
        fs::create_dir_all(&downloads)?;
        run(Command::new("apt-get")
            .args(["download", "-q"])
            .args(JARS)
            .current_dir(&downloads))?;
        let mut jars = BTreeMap::new();
        for deb in fs::read_dir(&downloads)? {
            let deb = deb?.path();
            if deb.extension().is_some_and(|extension| extension == "deb") {
                run(Command::new("dpkg")
                    .arg("-x")
                    .arg(&deb)
                    .arg(downloads.join("root")))?;
            }
        }
        collect_jars(&downloads.join("root"), &mut jars)?;
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

/// A zip of many small files of text.
pub(crate) fn texts(folder: &Path, files: u32) -> Result<PathBuf> {
    zipped(folder, &format!("texts-{files}"), |tree| {
        let mut random = Random(7);
        for n in 0..files {
            let directory = tree.join(format!("{}/{}", n % 61, n % 7));
            fs::create_dir_all(&directory)?;
            // Most are small, some are not, 8 KiB on average.
            let words = 20 + random.below(300) * random.below(9);
            let mut out = BufWriter::new(fs::File::create(directory.join(format!("{n}.txt")))?);
            write_words(&mut out, &mut random, words)?;
            out.flush()?;
        }
        Ok(())
    })
}

/// A zip of a few large files, half of whose content does not shrink.
pub(crate) fn large(folder: &Path, files: u32, size: u64) -> Result<PathBuf> {
    zipped(folder, &format!("large-{files}-{size}"), |tree| {
        let mut random = Random(11);
        for n in 0..files {
            let mut out = BufWriter::new(fs::File::create(tree.join(format!("{n}.bin")))?);
            let mut written = 0;
            while written < size {
                for _ in 0..8192 {
                    out.write_all(&random.next().to_le_bytes())?;
                }
                let mut text = Vec::new();
                write_words(&mut text, &mut random, 10_000)?;
                text.truncate(65_536);
                out.write_all(&text)?;
                written += 65_536 + text.len() as u64;
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

fn collect_jars(folder: &Path, jars: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let kind = entry.file_type()?;
        if kind.is_dir() {
            collect_jars(&path, jars)?;
        } else if kind.is_file() && path.extension().is_some_and(|e| e == "jar") {
            jars.insert(entry.file_name().to_string_lossy().into_owned(), path);
        }
    }
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{command:?}: {status}").into())
    }
}

/// Words with the frequencies of a language (Zipf's law), so that they shrink as texts do.
fn write_words(out: &mut impl Write, random: &mut Random, words: u64) -> Result<()> {
    for n in 0..words {
        // The product of two even choices prefers small numbers.
        let rank = random.below(80) * random.below(80);
        let mut word = Random(rank * 2 + 1);
        let letters = 2 + rank % 9;
        for _ in 0..letters {
            out.write_all(&[b'a' + u8::try_from(word.below(26))?])?;
        }
        out.write_all(if n % 11 == 10 { b".\n" } else { b" " })?;
    }
    Ok(())
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

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 33) % limit
    }
}
