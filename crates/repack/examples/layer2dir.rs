//! Extracts a tar, a layer or a zip to a directory, which is there whole in the end or not at all.
//!
//! ```text
//! cargo run --release -p repack --example layer2dir -- IN OUT [--no-sync]
//! ```

#![expect(clippy::print_stdout, reason = "a program")]

use std::{env, error::Error, path::Path, time::Instant};

use repack::{
    Cx, SizeLimits,
    extract::{Durability, Options, extract},
    tar, zip,
};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    let (from, to, durability) = match &args[..] {
        [from, to] => (from, to, Durability::FileSystem),
        [from, to, flag] if flag == "--no-sync" => (from, to, Durability::None),
        _ => return Err("usage: layer2dir IN OUT [--no-sync]".into()),
    };
    let begin = Instant::now();
    let (cx, limits) = (Cx::default(), SizeLimits::default());
    let is_zip = Path::new(from)
        .extension()
        .is_some_and(|extension| extension == "zip");
    let tree = if is_zip {
        zip::open(&cx, from, &limits)?
    } else {
        tar::open(&cx, from, &limits)?
    };
    let indexed = begin.elapsed();
    let options = Options::default().with_durability(durability);
    extract(&cx, &tree, &options, to)?;
    println!("entries  {}", tree.len());
    println!("bytes    {}", tree.content_size());
    println!("indexed  {:.3} s", indexed.as_secs_f64());
    println!("all      {:.3} s", begin.elapsed().as_secs_f64());
    Ok(())
}
