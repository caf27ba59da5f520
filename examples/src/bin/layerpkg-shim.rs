//! The program that all shims are: runs the tool that it is called as, of the active version.

use std::{
    env,
    error::Error,
    io::{self, Write},
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

/// As shells have it for commands that are not found.
const NOT_FOUND: u8 = 127;
/// As shells have it for commands that cannot be run.
const CANNOT_RUN: u8 = 126;

fn main() -> ExitCode {
    // The file itself says where the prefix is and which tool is meant, whatever name it was
    // called by.
    let shim = match env::current_exe() {
        Ok(shim) => shim,
        Err(error) => return fail(CANNOT_RUN, "layerpkg-shim", &error, None),
    };
    let name = shim.file_name().unwrap_or_default().to_string_lossy();
    match layerpkg::shim::resolve(&shim) {
        Ok(program) => {
            let error = Command::new(&program).args(env::args_os().skip(1)).exec();
            let what = format!("cannot run {}", program.display());
            fail(CANNOT_RUN, &what, &error, None)
        }
        Err(error) => fail(NOT_FOUND, &name, &error, error.hint()),
    }
}

fn fail(code: u8, what: &str, error: &(dyn Error + 'static), hint: Option<String>) -> ExitCode {
    let mut text = format!("{what}: {error}\n");
    for cause in ocicore::causes(error).skip(1) {
        text += &format!("  because: {cause}\n");
    }
    if let Some(hint) = hint {
        text += &format!("  help: {hint}\n");
    }
    // Where standard error is gone, there is nobody to tell.
    let _ = io::stderr().write_all(text.as_bytes());
    ExitCode::from(code)
}
