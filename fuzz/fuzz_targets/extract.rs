#![no_main]

use std::{fs, io, path::Path};

use repack::{
    Cx, Tree,
    extract::{Durability, Existing, Options, Symlinks, extract},
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
});

fn run(tree: &Tree, choice: u8, to: &Path) -> repack::Result<()> {
    let mut options = Options::default().with_durability(Durability::None);
    if choice & 1 != 0 {
        options = options.with_symlinks(Symlinks::Any);
    }
    if choice & 2 != 0 {
        options = options.with_existing(Existing::Replaced);
        extract(&Cx::default(), tree, &options, to)?;
    }
    extract(&Cx::default(), tree, &options, to)
}

fn entries(dir: &Path) -> io::Result<usize> {
    Ok(fs::read_dir(dir)?.count())
}
