//! Turns a zip into an image layer and says what came out and how long it took:
//! `zip2layer IN.zip OUT.tar.gz [--estargz] [--recompress] [--level N] [--threads N] [--mode GLOB=MODE]…`

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program")]

use std::{env, error::Error, process::ExitCode, time::Instant};

use ocicore::SizeLimits;
use repack::{Cx, Pattern, into_layer, layer, zip};

#[derive(Default)]
struct Arguments {
    files: Vec<String>,
    modes: Vec<(Pattern, u32)>,
    options: layer::Options,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut at: Option<&dyn Error> = Some(&*error);
            let mut text = String::from("error");
            while let Some(error) = at {
                text = format!("{text}: {error}");
                at = error.source();
            }
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let arguments = parse(env::args().skip(1))?;
    let [input, output] = &arguments.files[..] else {
        return Err("usage: zip2layer IN.zip OUT.tar.gz [--mode GLOB=MODE]…".into());
    };
    let cx = Cx::default();
    let start = Instant::now();
    let mut tree = zip::open(&cx, input, &SizeLimits::default())?;
    for (pattern, mode) in &arguments.modes {
        tree.set_mode(pattern, *mode);
    }
    let indexed = start.elapsed();
    let written = into_layer(&cx, &tree, &arguments.options, output)?;
    println!("digest   {}", written.digest);
    println!("diff_id  {}", written.diff_id);
    println!("size     {} of {}", written.size, written.unpacked_size);
    println!("entries  {}", tree.len());
    println!(
        "time     {:.3?}, of which index {indexed:.3?}",
        start.elapsed()
    );
    Ok(())
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Arguments, Box<dyn Error>> {
    let mut parsed = Arguments::default();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        let options = parsed.options.clone();
        match argument.as_str() {
            "--estargz" => {
                parsed.options = options.with_compression(layer::Compression::Estargz);
            }
            "--recompress" => {
                parsed.options = options.with_deflated(layer::Deflated::Recompress);
            }
            "--level" => parsed.options = options.with_level(value()?.parse()?),
            "--threads" => parsed.options = options.with_threads(value()?.parse()?),
            "--mode" => {
                let rule = value()?;
                let (pattern, mode) = rule.split_once('=').ok_or("a mode is GLOB=MODE")?;
                let mode = u32::from_str_radix(mode, 8)?;
                parsed.modes.push((pattern.parse()?, mode));
            }
            _ => parsed.files.push(argument),
        }
    }
    Ok(parsed)
}
