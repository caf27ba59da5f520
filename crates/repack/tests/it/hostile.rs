//! What every hostile archive has to lead to, and that the corpus has one of each form.
//!
//! The corpus is made by `hostile_zip`, `hostile_tar` and `advisories`. Each archive is refused by an error that
//! names the entry and its place, or else the archive as a whole; it leaves nothing beside it and nothing in
//! the destination, and takes no more memory than a bound that has nothing to do with what it declares.

use std::{collections::BTreeMap, env, fmt::Write as _, fs, path::Path};

use ocicore::SizeLimits;
use repack::{
    Cx, Error, Tree,
    extract::{Durability, Names, Options, extract},
    into_layer, layer,
};
use tar::EntryType;

use crate::{
    advisories, hostile_tar, hostile_zip,
    support::{
        chain,
        tar::{build, file, link, member},
    },
};

/// Names and archives.
pub(crate) type Cases = Vec<(&'static str, Vec<u8>)>;

/// Which reader an archive is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Format {
    Zip,
    Tar,
}

/// Memory that an archive may take, in KiB: what is in flight when a layer is written, and the
/// threads of tests that run beside this one.
const MEMORY: u64 = 160 << 10;

/// All messages, as a snapshot has them.
pub(crate) fn refused(format: Format, cases: &Cases) -> String {
    let mut out = String::new();
    for (case, archive) in cases {
        match outcome(format, case, archive) {
            Ok(_) => panic!("{case}: not refused"),
            Err(error) => {
                let place = error.offset().map(|place| format!(" ({place})"));
                let place = place.unwrap_or_default();
                writeln!(out, "{case}{place}:\n  {}", chain(&error)).unwrap();
            }
        }
    }
    out
}

/// Reads the archive, writes it as a layer and extracts it: all of it goes well, or the first error.
pub(crate) fn outcome(format: Format, case: &str, archive: &[u8]) -> Result<Tree, Error> {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("archive"), dir.path().join("to"));
    fs::write(&from, archive).unwrap();
    fs::create_dir(&to).unwrap();
    // Resets the peak (proc(5)), where that is allowed.
    let before = memory("VmRSS:").filter(|_| fs::write("/proc/self/clear_refs", "5").is_ok());
    let result = open(format, &from).and_then(|tree| {
        let layered = into_layer(
            &Cx::default(),
            &tree,
            &layer::Options::default(),
            to.join("layer"),
        );
        let options = Options::default()
            .with_durability(Durability::None)
            .with_names(Names::CaseInsensitive);
        let extracted = extract(&Cx::default(), &tree, &options, to.join("root"));
        let expected = usize::from(layered.is_ok()) + usize::from(extracted.is_ok());
        assert_eq!(names(&to).len(), expected, "{case}: {:?}", names(&to));
        if layered.is_err() {
            assert!(extracted.is_err(), "{case}: no layer, but a directory");
        }
        layered.and(extracted).map(|()| tree)
    });
    if let (Some(before), Some(peak)) = (before, memory("VmHWM:")) {
        assert!(peak < before + MEMORY, "{case}: {before} to {peak} KiB");
    }
    if let Err(error) = &result {
        assert!(is_typed(error), "{case}: {error:?}");
        assert!(!to.join("root").exists(), "{case}");
    }
    assert_eq!(names(dir.path()), ["archive", "to"], "{case}");
    result
}

fn open(format: Format, path: &Path) -> Result<Tree, Error> {
    let (cx, limits) = (Cx::default(), SizeLimits::default());
    match format {
        Format::Zip => repack::zip::open(&cx, path, &limits),
        Format::Tar => repack::tar::open(&cx, path, &limits),
    }
}

/// Of an entry or of the archive as a whole, and of a place in it. Only how many entries an archive says that it
/// has is nowhere.
fn is_typed(error: &Error) -> bool {
    let is_known = matches!(
        error,
        Error::Entry { .. }
            | Error::Archive { .. }
            | Error::Write { .. }
            | Error::LinkTarget { .. }
            | Error::Escape { .. }
            | Error::Device { .. }
            | Error::Case { .. }
    );
    is_known && error.offset().is_some() || matches!(error, Error::Limit { .. })
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A figure of this process in KiB; none where it would be that of other tests, too, since these are
/// threads of one process unless nextest runs them.
fn memory(key: &str) -> Option<u64> {
    env::var_os("NEXTEST")?;
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

/// What a layer may have, and an ordinary directory must not.
pub(crate) fn only_extraction_refuses_cases() -> Cases {
    let symlink = |target| build(&[link("d/x", EntryType::Symlink, target)]);
    let device = |kind| build(&[member("x", kind, b"", |_| {})]);
    vec![
        (
            "symbolic link to a file outside",
            symlink("../../etc/passwd"),
        ),
        ("absolute symbolic link", symlink("/etc/passwd")),
        ("symbolic link by way of another", {
            build(&[
                link("a", EntryType::Symlink, "b/c"),
                link("x", EntryType::Symlink, "a/../../.."),
            ])
        }),
        ("character device", device(EntryType::Char)),
        ("block device", device(EntryType::Block)),
        (
            "names that differ in case",
            build(&[file("README", b"1"), file("readme", b"2")]),
        ),
        (
            "directories that differ in case",
            build(&[file("Lib/x", b"1"), file("lib/y", b"2")]),
        ),
        (
            "link and file that differ in case",
            build(&[link("A", EntryType::Symlink, "b"), file("a/x", b"2")]),
        ),
    ]
}

#[test]
fn only_extraction_refuses() {
    insta::assert_snapshot!(refused(Format::Tar, &only_extraction_refuses_cases()));
}

/// The forms of bad input that there are, and for each the cases of the corpus.
const FORMS: &[(&str, &[&str])] = &[
    (
        "`../`",
        &[
            "parent",
            "parent inside",
            "parent at the end",
            "parent by pax",
            "parent by gnu",
        ],
    ),
    (
        "absolute names",
        &["absolute", "two slashes", "only a slash"],
    ),
    ("drive letters", &["drive", "drive, relative"]),
    ("backslashes", &["backslashes", "backslash inside", "unc"]),
    ("NUL", &["nul", "pax with nul", "link with nul"]),
    ("mixed encodings", &["twice as decoded", "marked as UTF-8"]),
    (
        "symbolic link, then a write through it",
        &["through a link", "below a link"],
    ),
    (
        "hard link outside",
        &["hard link outside", "absolute hard link"],
    ),
    (
        "symbolic link outside",
        &["symbolic link to a file outside", "absolute symbolic link"],
    ),
    ("duplicate names", &["twice", "twice with a dot"]),
    (
        "names that collide by case",
        &[
            "names that differ in case",
            "directories that differ in case",
        ],
    ),
    (
        "file, then directory",
        &[
            "file, then directory",
            "file, then below it",
            "below it, then file",
        ],
    ),
    (
        "local and central header that disagree",
        &["name", "method", "flags", "crc", "size"],
    ),
    (
        "data descriptors that lie",
        &["descriptor", "no descriptor", "sizes with a descriptor"],
    ),
    (
        "zip64 abuse",
        &[
            "zip64 size",
            "zip64 end elsewhere",
            "zip64 end with other counts",
            "zip64 with 2^60 entries",
        ],
    ),
    ("overlapping entries", &["the same header", "quoted"]),
    ("10 TB declared", &["10 TB", "10 TB in a zip"]),
    ("bombs", &["a bomb", "gzip bomb of zeros"]),
    (
        "truncated",
        &[
            "no directory",
            "no end",
            "a header cut",
            "within content",
            "within pax records",
        ],
    ),
    (
        "gzip members that lie",
        &["wrong crc", "wrong size", "wrong second member"],
    ),
    (
        "PAX against ustar",
        &["size in pax against ustar", "size in pax is huge"],
    ),
    (
        "PAX against GNU",
        &["names in gnu and pax", "links in gnu and pax"],
    ),
    (
        "negative fields",
        &["negative size in base 256", "size in pax is nothing"],
    ),
    (
        "octal garbage",
        &[
            "octal garbage in mode",
            "octal garbage in size",
            "octal garbage in uid",
        ],
    ),
    (
        "device nodes",
        &["character device", "block device", "device"],
    ),
    ("names of 10,000 bytes", &["10,000 bytes"]),
    ("invalid UTF-8", &["marked as UTF-8"]),
];

#[test]
fn each_form_is_in_the_corpus() {
    let mut all: BTreeMap<&str, usize> = BTreeMap::new();
    let groups = [
        hostile_zip::corpus(),
        hostile_tar::corpus(),
        vec![
            ("only_extraction_refuses", only_extraction_refuses_cases()),
            ("zip64_that_is_abused", advisories::zip64_cases()),
            ("bombs", advisories::bomb_cases()),
        ],
    ];
    for (case, _) in groups.into_iter().flatten().flat_map(|(_, cases)| cases) {
        *all.entry(case).or_default() += 1;
    }
    let total: usize = all.values().sum();
    assert!(total >= 140, "{total} archives");
    for (form, cases) in FORMS {
        for case in *cases {
            assert!(all.contains_key(case), "{form}: no `{case}`");
        }
    }
}
