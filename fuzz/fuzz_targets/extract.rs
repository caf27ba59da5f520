#![no_main]

use std::{fs, io, path::Path};

use ocicore::{Class, SizeLimits};
use repack::{
    Cx, Kind, Tree,
    diff::{Difference, diff},
    dir,
    extract::{
        Devices, Durability, Existing, Names, Options, Owner, SpecialBits, Symlinks, Xattrs,
        extract,
    },
};

// Whatever layers on top of one another say: all of it is below the directory, or nothing is there,
// and what links lead to is not touched.
libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let [choice, blocks, layers @ ..] = input else {
        return;
    };
    let (below, above) = layers.split_at(layers.len().min(usize::from(*blocks) * 512));
    let index = |bytes: &[u8]| gantry_fuzz::index_tar(gantry_fuzz::with_checksums(bytes));
    let Ok(mut tree) = index(below) else { return };
    if let Ok(layer) = index(above)
        && tree.apply_layer(layer).is_err()
    {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).expect("it is new");
    fs::write(outside.join("x"), "x").expect("a file");
    let to = dir.path().join("to");
    fs::create_dir(&to).expect("it is new");
    let result = run(&tree, *choice, &to.join("root"));
    let left = usize::from(result.is_ok());
    assert_eq!(entries(&to).expect("it is there"), left);
    assert_eq!(entries(&outside).expect("it is there"), 1);
    assert_eq!(fs::read(outside.join("x")).expect("it is there"), b"x");
    if result.is_ok() {
        check(&tree, &to.join("root"));
    }
});

fn run(tree: &Tree, choice: u8, to: &Path) -> repack::Result<()> {
    let asked = |bit: u8| choice & 1 << bit != 0;
    let mut options = Options::default().with_durability(Durability::None);
    if asked(0) {
        options = options.with_symlinks(Symlinks::Any);
    }
    if asked(2) {
        options = options.with_special_bits(SpecialBits::Kept);
    }
    if asked(3) {
        options = options.with_devices(Devices::Skipped);
    }
    if asked(4) {
        options = options.with_xattrs(Xattrs::WherePossible);
    }
    if asked(5) {
        options = options.with_names(Names::CaseInsensitive);
    }
    if asked(6) {
        options = options.with_owner(Owner::Kept);
    }
    if asked(1) {
        options = options.with_existing(Existing::Replaced);
        extract(&Cx::default(), tree, &options, to)?;
    }
    extract(&Cx::default(), tree, &options, to)
}

/// All names are there with their contents, and no other.
fn check(tree: &Tree, root: &Path) {
    let (cx, limits) = (Cx::default(), SizeLimits::default());
    let options = dir::Options::default().with_attributes(dir::Attributes::Everything);
    let there = match dir::open(&cx, root, &options, &limits) {
        // Of directories that are closed to the user.
        Err(error) if error.class() == Class::Denied => return,
        there => there.expect("it is a directory"),
    };
    let Ok(diff) = diff(&cx, tree, &there) else {
        return;
    };
    for change in diff.changes {
        let kind = tree.get(&change.path).map(|entry| entry.kind);
        if matches!(kind, Some(Kind::CharDevice(_) | Kind::BlockDevice(_))) {
            continue;
        }
        for difference in change.differences {
            let is_metadata = matches!(
                difference,
                Difference::Mode(..)
                    | Difference::Owner(..)
                    | Difference::Mtime
                    | Difference::Xattrs
            );
            assert!(is_metadata, "{difference}: {}", change.path);
        }
    }
}

fn entries(dir: &Path) -> io::Result<usize> {
    Ok(fs::read_dir(dir)?.count())
}
