//! A container engine with Docker's interface.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::failure::{Failure, Result};
use crate::process;

use super::daemon;
use super::home::{self, Home, runtime_dir};
use super::report::{Part, Report};
use super::tools;

/// A running engine and the client to talk to it with.
#[derive(Debug)]
pub(super) struct Engine {
    cli: PathBuf,
    host: String,
    version: String,
    origin: String,
}

/// What `dockerd` is started with, the best first: on some machines overlay file systems or the
/// packet filter cannot be had.
const ATTEMPTS: [&[&str]; 3] = [
    &[],
    &["--storage-driver=vfs"],
    &["--storage-driver=vfs", "--iptables=false"],
];

/// Finds a running engine or starts one.
pub(super) fn start(home: &Home) -> Result<Engine> {
    let cli = client()?;
    // One folder for all checkouts: two engines of ours would fight over `docker0`.
    let ours = runtime_dir().join("gantry-docker");
    let own_host = format!("unix://{}", ours.join("docker.sock").display());
    let named = env::var("DOCKER_HOST").ok();
    let known = named
        .into_iter()
        .chain(["unix:///var/run/docker.sock".to_owned()]);
    for host in known.chain([own_host.clone()]) {
        if let Ok(version) = version(&cli, &host) {
            let origin = match daemon::pid(home, "docker") {
                Some(pid) if host == own_host => format!("pid {pid}"),
                _ => "not started from here".to_owned(),
            };
            return Ok(Engine {
                cli,
                host,
                version,
                origin,
            });
        }
    }

    daemon::stop(home, "docker")?;
    std::fs::create_dir_all(&ours)
        .map_err(|error| Failure::new(format!("creating `{}`: {error}", ours.display())))?;
    for pid_file in ["docker.pid", "exec/containerd/containerd.pid"] {
        daemon::remove_stale(&ours.join(pid_file), &ours)?;
    }
    let mut failure = None;
    for extra in ATTEMPTS {
        let started = daemon::start(
            home,
            "docker",
            &mut server(home, &ours, &own_host, extra)?,
            Duration::from_secs(60),
            || version(&cli, &own_host).is_ok(),
        );
        match started {
            Ok(pid) => {
                let version = version(&cli, &own_host)?;
                let origin = [&[&*format!("pid {pid}")], extra].concat().join(" ");
                return Ok(Engine {
                    cli,
                    host: own_host,
                    version,
                    origin,
                });
            }
            // What the first attempt says is the most telling.
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    Err(failure.unwrap_or_else(|| Failure::new("there is no way to start one")))
}

impl Engine {
    /// The client, set to talk to this engine.
    pub(super) fn client(&self) -> Command {
        let mut command = Command::new(&self.cli);
        command.args(["-H", &self.host]);
        command
    }

    /// Runs a container in the host's network and one behind the default bridge.
    pub(super) fn check_network(&self, report: &mut Report) {
        for network in ["host", "bridge"] {
            let mut run = self.client();
            run.args(["run", "--rm", "--network", network, super::image::BUSYBOX]);
            run.args(["/bin/busybox", "ip", "address"]);
            let part = format!("docker network `{network}`");
            match process::output(&mut run) {
                Ok(said) => report.have(&part, addresses(&said)),
                Err(failure) => report.lack(&part, failure),
            }
        }
    }
}

impl Part for Engine {
    fn what(&self) -> String {
        format!("{} ({}, {})", self.host, self.version, self.origin)
    }

    fn variables(&self, report: &mut Report) {
        report.set("DOCKER", self.cli.display());
        report.set("DOCKER_HOST", &self.host);
    }
}

/// Debian's own client where it is installed: one that is older on `PATH` may lack plugins.
fn client() -> Result<PathBuf> {
    let debian = PathBuf::from("/usr/bin/docker");
    if debian.exists() {
        Ok(debian)
    } else {
        tools::path("docker")
    }
}

fn version(cli: &Path, host: &str) -> Result<String> {
    let format = "Docker {{.Server.Version}}, API {{.Server.APIVersion}}";
    process::output(Command::new(cli).args(["-H", host, "version", "--format", format]))
}

fn server(home: &Home, run: &Path, host: &str, extra: &[&str]) -> Result<Command> {
    // The machine's own daemon.json is for the machine's own engine.
    let config = home.at("docker.json");
    home::write(&config, "{}\n")?;
    let mut command = Command::new(tools::path("dockerd")?);
    command.arg("--config-file").arg(config);
    command.arg("--data-root").arg(home.at("docker"));
    command.arg("--exec-root").arg(run.join("exec"));
    command.arg("--pidfile").arg(run.join("docker.pid"));
    command.args(["--host", host, "--log-level", "warn"]);
    // Published ports are for this machine only.
    command.args(["--ip", "127.0.0.1"]);
    command.args(extra);
    Ok(command)
}

/// The IPv4 addresses in what `ip address` prints.
fn addresses(said: &str) -> String {
    let after_inet = said
        .lines()
        .filter_map(|line| line.trim().strip_prefix("inet "));
    after_inet
        .filter_map(|rest| rest.split(' ').next())
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_ip_version_4() {
        let said = "1: lo: <UP>\n    inet 127.0.0.1/8 scope host lo\n    inet6 ::1/128\n";
        assert_eq!(addresses(said), "127.0.0.1/8");
    }
}
