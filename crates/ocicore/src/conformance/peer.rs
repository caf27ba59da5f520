//! How a test gets a real part (a registry, an engine, a tool), and says that it is missing.
//!
//! The parts are listed as `KEY=value` in the file that the variable `GANTRY_PEERS` names, else in
//! `target/peers/env` of the workspace.

use std::{collections::BTreeMap, env, fs, io::Write, path::PathBuf, thread};

/// The value of a part, for example `SKOPEO` or `REGISTRY`; none if it is missing, which is
/// recorded for the report of skipped tests.
///
/// # Panics
/// If it is missing and `REQUIRE_PEERS=1`.
pub fn peer(key: &str) -> Option<String> {
    let value = peers().remove(key);
    if value.is_none() {
        missing(key);
    }
    value
}

/// The folder of real input that the variable `REAL_DATA` names; none is recorded as by [`peer`].
///
/// # Panics
/// If it is missing and `REQUIRE_PEERS=1`.
pub fn real_data() -> Option<PathBuf> {
    let folder = env::var_os("REAL_DATA")
        .map(PathBuf::from)
        .filter(|folder| folder.is_dir());
    if folder.is_none() {
        missing("REAL_DATA");
    }
    folder
}

#[expect(clippy::print_stderr, reason = "only tests call this")]
fn missing(key: &str) {
    let test = thread::current().name().unwrap_or("a test").to_owned();
    assert!(
        env::var_os("REQUIRE_PEERS").is_none_or(|value| value != "1"),
        "{test} needs the peer {key}, and REQUIRE_PEERS=1 is set: run `cargo xtask peers`"
    );
    let line = format!("{test}: skipped: no {key}\n");
    eprint!("{line}");
    if let Some(path) = env::var_os("GANTRY_SKIPPED") {
        let file = fs::OpenOptions::new().create(true).append(true).open(path);
        file.and_then(|mut file| file.write_all(line.as_bytes()))
            .expect("the skip is recorded");
    }
}

fn peers() -> BTreeMap<String, String> {
    let path = env::var_os("GANTRY_PEERS").map_or_else(
        || {
            PathBuf::from(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../../target/peers/env"
            ))
        },
        PathBuf::from,
    );
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}
