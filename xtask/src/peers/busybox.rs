//! A static busybox, apart from the machine's own: the packages exclude each other.

use std::path::PathBuf;
use std::process::Command;

use crate::failure::{Failure, Result};
use crate::process;

use super::home::Home;
use super::unpacked;

/// The program, fetched if need be.
pub(super) fn install(home: &Home) -> Result<PathBuf> {
    const NAME: &str = "busybox-static";
    let dir = unpacked::packages(home, NAME, &[NAME])?;
    let program = dir.join("bin/busybox");
    let said = process::output(Command::new(&program).args(["echo", "static"]))?;
    if said == "static" {
        return Ok(program);
    }
    Err(Failure::new(format!(
        "`{}` does not work",
        program.display()
    )))
}
