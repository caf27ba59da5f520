//! Jobs from repositories and archives to them, with nginx and Maven.
#![expect(clippy::unwrap_used, reason = "tests fail by panics")]

mod client;
mod maven;
mod package;
mod publish;

use std::{
    path::Path,
    process::{Command, Stdio},
};

use e2e::{Outcome, nginx::Nginx, program, run};

/// `job2docker` with a folder to work in, without credentials but those of a netrc file.
fn job2docker(folder: &Path, netrc: Option<&Nginx>, args: &[&str]) -> Outcome {
    let mut command = program("job2docker");
    command.current_dir(folder).args(args).stdin(Stdio::null());
    for (name, _) in std::env::vars() {
        if name.starts_with("TALEND_PACKAGER_") {
            command.env_remove(name);
        }
    }
    command
        .env("HOME", folder)
        .env("XDG_CACHE_HOME", folder.join("cache"))
        .env_remove("NETRC")
        .env_remove("SOURCE_DATE_EPOCH");
    if let Some(nginx) = netrc {
        command.env("NETRC", nginx.netrc());
    }
    run(&mut command)
}

fn succeeds(command: &mut Command) -> String {
    run(command).success()
}
