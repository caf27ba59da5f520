//! Turns a zip into an image layer, and says what came out and how long it took:
//!
//! ```text
//! cargo run --release -p repack --example zip2layer -- IN.zip OUT.tar.gz \
//!     [--estargz] [--recompress] [--level N] [--threads N] [--mode GLOB=MODE]…
//! ```

#![expect(clippy::print_stderr, reason = "it is a program")]

use std::{
    env,
    error::Error,
    io::{self, Write},
    process::ExitCode,
    time::Instant,
};

use repack::{Cx, Pattern, SizeLimits, into_layer, layer, zip};

const USAGE: &str = "usage: zip2layer IN.zip OUT.tar.gz [--estargz] [--recompress] [--level N] [--threads N] \
                     [--mode GLOB=MODE]…";

#[derive(Default)]
struct Arguments {
    files: Vec<String>,
    modes: Vec<(Pattern, u32)>,
    options: layer::Options,
}

fn main() -> ExitCode {
    match run(env::args().skip(1), &mut io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", ocicore::in_one_line(&*error));
            ExitCode::FAILURE
        }
    }
}

/// Does what `arguments` say, and writes to `out` what came out.
pub(crate) fn run(
    arguments: impl Iterator<Item = String>,
    out: &mut dyn Write,
) -> Result<(), Box<dyn Error>> {
    let arguments = parse(arguments)?;
    let [input, output] = &arguments.files[..] else {
        return Err(USAGE.into());
    };
    let cx = Cx::default();
    let start = Instant::now();
    let mut tree = zip::open(&cx, input, &SizeLimits::default())?;
    for (pattern, mode) in &arguments.modes {
        if tree.set_mode(pattern, *mode) == 0 {
            return Err(format!("`{pattern}` matches no file of `{input}`").into());
        }
    }
    let indexed = start.elapsed();
    let written = into_layer(&cx, &tree, &arguments.options, output)?;
    writeln!(out, "digest   {}", written.digest)?;
    writeln!(out, "diff_id  {}", written.diff_id)?;
    writeln!(
        out,
        "size     {} of {}",
        written.size, written.unpacked_size
    )?;
    for (key, value) in &written.annotations {
        writeln!(out, "annotate {key}={value}")?;
    }
    writeln!(out, "entries  {}", tree.len())?;
    writeln!(
        out,
        "time     {:.3?}, of which index {indexed:.3?}",
        start.elapsed()
    )?;
    Ok(())
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Arguments, Box<dyn Error>> {
    let mut parsed = Arguments::default();
    while let Some(argument) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .ok_or(format!("`{argument}` needs a value"))
        };
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
                let of_rule = || format!("`{rule}` is not GLOB=MODE, as in `**/*.sh=755`");
                let (pattern, mode) = rule.split_once('=').ok_or_else(of_rule)?;
                let mode = u32::from_str_radix(mode, 8)
                    .ok()
                    .filter(|mode| *mode <= 0o7777);
                let mode = mode.ok_or_else(of_rule)?;
                parsed.modes.push((pattern.parse()?, mode));
            }
            option if option.starts_with("--") => {
                return Err(format!("`{option}` is no option; {USAGE}").into());
            }
            _ => parsed.files.push(argument),
        }
    }
    Ok(parsed)
}
