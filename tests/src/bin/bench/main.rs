//! `cargo xtask bench`: us and our peers side by side in one run.
//!
//! Each benchmark makes its own input, runs all contenders in turns (A B A B, after a warm-up),
//! and prints one table: figure, us, each peer, ratio, bar, met or not.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool"
)]

mod input;
mod measure;
mod registry_client;
mod registry_server;
mod repack;
mod table;
mod talend;

use std::{env, error::Error, ffi::OsString, process::ExitCode};

use table::{Judged, Table};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

const HELP: &str = "\
Usage: cargo xtask bench NAME [--quick] [--json]

  repack           zips to layers, beside unzip + tar, pigz, bsdtar and zip + tar + flate2,
                   and layers to files, beside GNU tar, umoci and the tar crate
  registry-client  images to registries and back, beside skopeo, oci-client, $CRANE and $REGCTL
  registry-server  our server beside docker-registry and $PEER_REGISTRY
  talend           50 jobs as one image to the embedded registry, beside the original's unzip, sed, rsync, tar

  --quick   small input, nothing judged
  --json    the table and all samples as JSON

Exit codes: 0 all bars met (or --quick), 1 one missed, 2 wrong command line, 3 it could not run";

/// How a benchmark is run.
#[derive(Clone, Copy, Debug)]
struct Options {
    quick: bool,
    json: bool,
}

fn main() -> ExitCode {
    let args: Vec<OsString> = env::args_os().skip(1).collect();
    let result = match args.first().and_then(|first| first.to_str()) {
        Some(measure::WRAPPER) => measure::wrapper(&args[1..]).map(|()| ExitCode::SUCCESS),
        Some(registry_client::WORKER) => {
            registry_client::work(&args[1..]).map(|()| ExitCode::SUCCESS)
        }
        Some(registry_server::WORKER) => {
            registry_server::work(&args[1..]).map(|()| ExitCode::SUCCESS)
        }
        Some(talend::WORKER) => talend::work(&args[1..]).map(|()| ExitCode::SUCCESS),
        Some(repack::WORKER) => repack::work(&args[1..]).map(|()| ExitCode::SUCCESS),
        _ => bench(&args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::from(3)
    })
}

fn bench(args: &[OsString]) -> Result<ExitCode> {
    let mut options = Options {
        quick: false,
        json: false,
    };
    let mut name = None;
    for arg in args {
        match arg.to_str() {
            Some("--quick") => options.quick = true,
            Some("--json") => options.json = true,
            Some(text) if !text.starts_with('-') && name.is_none() => name = Some(text),
            _ => name = Some("--help"),
        }
    }
    let table: Table = match name {
        Some("registry-client") => registry_client::bench(options)?,
        Some("registry-server") => registry_server::bench(options)?,
        Some("repack") => repack::bench(options)?,
        Some("talend") => talend::bench(options)?,
        _ => {
            eprintln!("{HELP}");
            return Ok(ExitCode::from(2));
        }
    };
    if options.json {
        println!("{}", serde_json::to_string_pretty(&table)?);
    } else {
        print!("{table}");
    }
    let missed = !options.quick && table.rows.iter().any(|row| row.met == Judged::Missed);
    Ok(ExitCode::from(u8::from(missed)))
}
