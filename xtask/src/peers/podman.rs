//! Podman and Buildah with settings and storage of their own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::failure::{Context as _, Result};
use crate::process;

use super::daemon;
use super::home::{self, Home};
use super::report::{Part, Report};
use super::tools;

/// The service, and the programs wrapped so that they share its storage.
#[derive(Debug)]
pub(super) struct Podman {
    wrapper: PathBuf,
    buildah: Option<PathBuf>,
    host: String,
    version: String,
}

/// Starts the service, or finds the one that we started before.
pub(super) fn start(home: &Home) -> Result<Podman> {
    let wrapper = prepare(home)?;
    let host = format!("unix://{}", home.run("podman.sock").display());
    let answers =
        || process::output(Command::new(&wrapper).args(["--url", &host, "version"])).is_ok();
    if daemon::pid(home, "podman").is_none() || !answers() {
        daemon::stop(home, "podman")?;
        let mut service = Command::new(&wrapper);
        service.args(["system", "service", "--time=0", &host]);
        daemon::start(
            home,
            "podman",
            &mut service,
            Duration::from_secs(30),
            answers,
        )?;
    }
    let mut about = Command::new(&wrapper);
    about.args([
        "info",
        "--format",
        "Podman {{.Version.Version}}, {{.Store.GraphDriverName}}",
    ]);
    let version = process::output(&mut about)?;
    let buildah = tools::path("buildah")
        .and_then(|program| wrap(home, "buildah", &program))
        .and_then(|wrapper| process::output(Command::new(&wrapper).arg("images")).map(|_| wrapper));
    if let Err(failure) = &buildah {
        eprintln!("warning: buildah does not work: {failure}");
    }
    Ok(Podman {
        wrapper,
        buildah: buildah.ok(),
        host,
        version,
    })
}

/// Ends all containers that use our storage.
pub(super) fn remove_containers(home: &Home) {
    let wrapper = home.at("bin/podman");
    if wrapper.exists()
        && let Err(failure) =
            process::output(Command::new(&wrapper).args(["rm", "--all", "--force", "--time", "1"]))
    {
        eprintln!("warning: {failure}");
    }
}

impl Podman {
    /// The wrapped program.
    pub(super) fn client(&self) -> Command {
        Command::new(&self.wrapper)
    }
}

impl Part for Podman {
    fn what(&self) -> String {
        format!("{} ({})", self.host, self.version)
    }

    fn variables(&self, report: &mut Report) {
        report.set("PODMAN", self.wrapper.display());
        report.set("PODMAN_HOST", &self.host);
        match &self.buildah {
            Some(wrapper) => {
                report.set("BUILDAH", wrapper.display());
                report.have("buildah", wrapper.display());
            }
            None => report.lack("buildah", "it does not run with our settings"),
        }
    }
}

/// Writes settings and wrapper; picks the storage driver that works here.
fn prepare(home: &Home) -> Result<PathBuf> {
    let program = tools::path("podman")?;
    let etc = home.at("podman/home/.config/containers");
    std::fs::create_dir_all(&etc).context(|| format!("creating `{}`", etc.display()))?;
    let accept_all = "{\"default\": [{\"type\": \"insecureAcceptAnything\"}]}\n";
    home::write(&etc.join("policy.json"), accept_all)?;
    home::write(&etc.join("auth.json"), "{}\n")?;
    home::write(
        &etc.join("registries.conf"),
        "unqualified-search-registries = []\n\n[[registry]]\nlocation = \"127.0.0.1\"\ninsecure = true\n",
    )?;
    home::write(&etc.join("containers.conf"), &containers_conf(home))?;
    let wrapper = wrap(home, "podman", &program)?;
    let storage = etc.join("storage.conf");
    if storage.exists() {
        return Ok(wrapper);
    }
    home::write(&storage, &storage_conf(home, "overlay"))?;
    if process::output(Command::new(&wrapper).arg("info")).is_err() {
        home::write(&storage, &storage_conf(home, "vfs"))?;
        process::output(Command::new(&wrapper).arg("info"))?;
    }
    Ok(wrapper)
}

fn containers_conf(home: &Home) -> String {
    // Without CAP_SYS_RESOURCE limits can only go down, without systemd there is nobody to make
    // control groups or to keep a journal, and crun refuses the hybrid control group hierarchy.
    format!(
        "[containers]\n\
         default_ulimits = [\"nofile=4096:4096\", \"nproc=4096:4096\"]\n\
         \n\
         [engine]\n\
         cgroup_manager = \"cgroupfs\"\n\
         events_logger = \"file\"\n\
         runtime = \"runc\"\n\
         tmp_dir = \"{tmp}\"\n\
         \n\
         [network]\n\
         network_backend = \"netavark\"\n\
         network_config_dir = \"{networks}\"\n",
        tmp = home.run("libpod").display(),
        networks = home.at("podman/networks").display(),
    )
}

fn storage_conf(home: &Home, driver: &str) -> String {
    format!(
        "[storage]\ndriver = \"{driver}\"\ngraphroot = \"{graph}\"\nrunroot = \"{run}\"\n",
        graph = home.at("podman").join(driver).display(),
        run = home.run("containers").display(),
    )
}

/// A script that runs a program with our settings and not with the machine's.
fn wrap(home: &Home, name: &str, program: &Path) -> Result<PathBuf> {
    let own = home.at("podman/home");
    let script = format!(
        "#!/bin/sh\n\
         # `HOME` is where policy.json is looked up.\n\
         HOME='{own}'\n\
         etc=\"$HOME/.config/containers\"\n\
         CONTAINERS_CONF=\"$etc/containers.conf\"\n\
         CONTAINERS_REGISTRIES_CONF=\"$etc/registries.conf\"\n\
         CONTAINERS_STORAGE_CONF=\"$etc/storage.conf\"\n\
         : \"${{REGISTRY_AUTH_FILE:=$etc/auth.json}}\"\n\
         export HOME CONTAINERS_CONF CONTAINERS_REGISTRIES_CONF CONTAINERS_STORAGE_CONF REGISTRY_AUTH_FILE\n\
         exec '{program}' \"$@\"\n",
        own = own.display(),
        program = program.display(),
    );
    let wrapper = home.at("bin").join(name);
    home::write_script(&wrapper, &script)?;
    Ok(wrapper)
}
