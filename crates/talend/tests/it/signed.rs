//! Builds that are signed as a whole, by the JDK's own tool, and builds with checksums.

use std::{fs, io::Write, path::Path, process::Command};

use ocicore::{Cx, SizeLimits, conformance::peer::peer};
use repack::Tree;
use talend::{
    ConvertOptions, Layout, SignedFiles,
    application::{JobInput, MergeSpec, merge},
    convert, inspect,
    layers::LayerOptions,
};
use zip::{ZipWriter, write::SimpleFileOptions};

use crate::fixture::{LAUNCHER, insert, job};

/// A JDK's tools, which lie next to its compiler.
struct Jdk(String);

impl Jdk {
    fn find() -> Option<Self> {
        let javac = fs::canonicalize(peer("JAVAC")?).unwrap();
        Some(Self(javac.parent().unwrap().to_str().unwrap().to_owned()))
    }

    fn run(&self, tool: &str, args: &[&str]) -> (bool, String) {
        let output = Command::new(format!("{}/{tool}", self.0))
            .args(args)
            .output()
            .unwrap();
        let text =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        (output.status.success(), text.into_owned())
    }

    /// The job as a zip that is signed like a jar.
    fn sign(&self, tree: &Tree, folder: &Path) -> Tree {
        let (zip, store) = (folder.join("signed.zip"), folder.join("keys"));
        write_zip(tree, &zip);
        let (zip, store) = (zip.to_str().unwrap(), store.to_str().unwrap());
        let key = ["-keystore", store, "-storepass", "changeit"];
        let generate = [
            "-genkeypair",
            "-alias",
            "talend",
            "-keyalg",
            "EC",
            "-dname",
            "CN=Talend",
        ];
        let made = self.run("keytool", &[&generate[..], &key].concat());
        assert!(made.0, "{made:?}");
        let signed = self.run("jarsigner", &[&key[..], &[zip, "talend"]].concat());
        assert!(signed.0, "{signed:?}");
        repack::zip::open(&Cx::default(), zip, &SizeLimits::default()).unwrap()
    }

    /// What `jarsigner` says of it.
    fn verifies(&self, tree: &Tree) -> (bool, String) {
        let folder = tempfile::tempdir().unwrap();
        let zip = folder.path().join("converted.zip");
        write_zip(tree, &zip);
        self.run("jarsigner", &["-verify", zip.to_str().unwrap()])
    }
}

fn write_zip(tree: &Tree, to: &Path) {
    let mut writer = ZipWriter::new(fs::File::create(to).unwrap());
    let mut paths: Vec<_> = tree.iter().collect();
    // A manifest comes first, or Java does not see it.
    paths.sort_by_cached_key(|(path, _)| {
        let is_later = !path.to_str().unwrap().starts_with("META-INF");
        (is_later, path.clone())
    });
    for (path, entry) in paths {
        if let Some(content) = entry.content() {
            let path = path.to_str().unwrap();
            writer
                .start_file(path, SimpleFileOptions::default())
                .unwrap();
            writer.write_all(&content.read(1 << 30).unwrap()).unwrap();
        }
    }
    writer.finish().unwrap();
}

fn ready() -> Tree {
    let mut tree = job();
    insert(
        &mut tree,
        "load/load_run.sh",
        LAUNCHER.replace("\njava ", "\nexec java "),
    );
    tree
}

#[test]
fn what_the_jdk_finds_broken_is_reported() {
    let Some(jdk) = Jdk::find() else { return };
    let plain = ConvertOptions::default();
    let overrides = talend::properties::Properties::parse(b"message=other\n").unwrap();
    let cases: [(&str, Tree, ConvertOptions, &[&str]); 4] = [
        ("nothing to edit", ready(), plain.clone(), &[]),
        (
            "a rewritten launcher",
            job(),
            plain.clone(),
            &["load/load_run.sh"],
        ),
        (
            "another value in a context",
            ready(),
            plain.clone().with_overrides(overrides),
            &["load/demo/load_0_1/contexts/Default.properties"],
        ),
        (
            "renamed files",
            ready(),
            plain.with_layout(Layout::Job2docker),
            &[
                "jobInfo.properties",
                "lib/routines.jar",
                "load/load_run.bat",
                "load/load_run.ps1",
                "load/load_run.sh",
            ],
        ),
    ];
    for (case, tree, options, expected) in cases {
        let folder = tempfile::tempdir().unwrap();
        let signed = jdk.sign(&tree, folder.path());
        let (verified, said) = jdk.verifies(&signed);
        assert!(verified && said.contains("jar verified."), "{case}: {said}");
        let inspected = inspect(&Cx::default(), &signed, "load_0.1.zip", &options).unwrap();
        let mut converted = convert(&Cx::default(), signed, "load_0.1.zip", &options).unwrap();
        let report = &converted.plan.report;
        assert_eq!(inspected.report.signed, report.signed, "{case}");
        let found = report.signed.clone().unwrap();
        let broken: Vec<_> = found.broken.iter().map(ToString::to_string).collect();
        assert_eq!(broken, expected, "{case}");
        let warnings = report
            .warnings
            .iter()
            .filter(|text| text.starts_with("the build is signed"));
        assert_eq!(
            warnings.count(),
            usize::from(!expected.is_empty()),
            "{case}"
        );
        let root = "load_0.1".parse().unwrap();
        converted.tree.strip_prefix(&root).unwrap();
        let (verified, said) = jdk.verifies(&converted.tree);
        assert_eq!(verified, expected.is_empty(), "{case}: {said}");
    }
}

#[test]
fn every_rule_for_signatures_and_checksums() {
    let signed = |name: &str| {
        let mut tree = Tree::new();
        let text = |text: &str| text.replace("load", name);
        for (path, entry) in &ready() {
            if let Some(content) = entry.content() {
                let bytes = content.read(1 << 20).unwrap().to_vec();
                insert(
                    &mut tree,
                    &text(path.to_str().unwrap()),
                    text(&String::from_utf8(bytes).unwrap()),
                );
            }
        }
        let manifest = format!("Name: jobInfo.properties\r\n\r\nName: {name}/{name}_run.sh\r\n");
        insert(&mut tree, "META-INF/MANIFEST.MF", manifest.clone());
        insert(&mut tree, "META-INF/TALEND.SF", manifest);
        insert(
            &mut tree,
            "crcMap",
            format!("lib/routines.jar=1 {name}_0_1.jar=2\n"),
        );
        JobInput::new(format!("{name}_0.1.zip"), tree)
    };
    let vouching = |tree: &Tree| -> Vec<String> {
        let paths = tree.iter().filter(|(_, entry)| !entry.kind.is_dir());
        let paths = paths.map(|(path, _)| path.to_string());
        paths
            .filter(|path| path.contains("META-INF") || path.ends_with("crcMap"))
            .collect()
    };
    for (rule, alone, in_image, merged, merged_in_image) in [
        (
            SignedFiles::Keep,
            &[
                "a_0.1/META-INF/MANIFEST.MF",
                "a_0.1/META-INF/TALEND.SF",
                "a_0.1/crcMap",
            ][..],
            &[
                "talend/a_0.1/META-INF/MANIFEST.MF",
                "talend/a_0.1/META-INF/TALEND.SF",
                "talend/a_0.1/crcMap",
            ][..],
            &[
                "o/META-INF/MANIFEST.MF",
                "o/META-INF/TALEND.SF",
                "o/crcMap",
                "o/jobs/b/META-INF/MANIFEST.MF",
                "o/jobs/b/META-INF/TALEND.SF",
                "o/jobs/b/crcMap",
            ][..],
            6,
        ),
        (
            SignedFiles::Namespace,
            &[
                "a_0.1/META-INF/MANIFEST.MF",
                "a_0.1/META-INF/TALEND.SF",
                "a_0.1/crcMap",
            ],
            &["talend/a_0.1/crcMap"],
            &[
                "o/build/a/META-INF/MANIFEST.MF",
                "o/build/a/META-INF/TALEND.SF",
                "o/build/a/crcMap",
                "o/build/b/META-INF/MANIFEST.MF",
                "o/build/b/META-INF/TALEND.SF",
                "o/build/b/crcMap",
            ],
            2,
        ),
        (SignedFiles::Drop, &[], &[], &[], 0),
    ] {
        let cx = Cx::default();
        let options = ConvertOptions::default().with_signed_files(rule);
        let one = signed("a");
        let one = convert(&cx, one.tree, &one.file_name, &options).unwrap();
        assert_eq!(vouching(&one.tree), alone, "{rule:?}");
        // As the job starts java by `exec`, only what is renamed is not what it was.
        let report = one.plan.report.signed.as_ref().unwrap();
        assert_eq!(
            (report.rule, report.files.len(), report.broken.len()),
            (rule, 2, 0)
        );
        let layers = one
            .into_layers(&cx, &LayerOptions::default())
            .unwrap()
            .layers;
        assert_eq!(vouching(&layers.last().unwrap().tree), in_image, "{rule:?}");

        let spec = MergeSpec::new("o").with_convert(options);
        let both = merge(&cx, vec![signed("a"), signed("b")], &spec).unwrap();
        assert_eq!(vouching(&both.tree), merged, "{rule:?}");
        for placed in &both.plan.jobs {
            let broken = &placed.report.signed.as_ref().unwrap().broken;
            assert_eq!(broken, &["jobInfo.properties".parse().unwrap()], "{rule:?}");
            assert_eq!(
                placed.separate.is_some(),
                rule == SignedFiles::Keep && placed.job.name == "b"
            );
        }
        let layers = both
            .into_layers(&cx, &LayerOptions::default())
            .unwrap()
            .layers;
        let kept: usize = layers.iter().map(|layer| vouching(&layer.tree).len()).sum();
        assert_eq!(kept, merged_in_image, "{rule:?}");
    }
}

#[test]
fn checksums_are_broken_by_a_rename() {
    let mut tree = ready();
    insert(&mut tree, "crcMap", "../lib/routines.jar=1a2b\n");
    let options = ConvertOptions::default().with_layout(Layout::Job2docker);
    let converted = convert(&Cx::default(), tree, "load_0.1.zip", &options).unwrap();
    assert_eq!(
        converted.plan.report.warnings,
        ["the build has checksums (`crcMap`), which do not fit `lib/routines.jar`"]
    );
}
