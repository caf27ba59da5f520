//! `cargo xtask peers`: the real parts that tests run against.
//!
//! Installs what is missing (Debian, as root), starts two registries, Podman's service and, where none
//! runs yet, a container engine, builds the base images, and writes down in `env` what really works.
//! All that is started listens on 127.0.0.1 or on a Unix socket, and is stopped by `--stop`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

mod apt;
mod busybox;
mod daemon;
mod docker;
mod golang;
mod home;
mod image;
mod podman;
mod registry;
mod report;
mod rootfs;
mod tools;
mod unpacked;

use crate::failure::{Context as _, Failure, Result, USAGE};
use crate::process;
use crate::table::Table;

use self::home::Home;
use self::image::Image;
use self::report::Report;
use self::rootfs::Rootfs;

/// The long-lived parts in the order of their start: what their pid files and logs are called, and the
/// variable with their address.
const DAEMONS: [(&str, &str); 4] = [
    ("docker", "DOCKER_HOST"),
    ("podman", "PODMAN_HOST"),
    ("registry", "REGISTRY"),
    ("registry-tls", "REGISTRY_TLS"),
];

pub(crate) fn run(args: &[String]) -> Result<()> {
    let home = Home::locate()?;
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => start(&home),
        ["--stop"] => stop(&home),
        ["--status"] => status(&home),
        _ => Err(Failure::with_status(
            USAGE,
            "usage: cargo xtask peers [--stop | --status]",
        )),
    }
}

fn start(home: &Home) -> Result<()> {
    let was_there = home.exists();
    let _lock = home.create_and_lock()?;
    if !was_there {
        // `cargo clean` may have taken the ground from under running parts.
        for (name, _) in DAEMONS.iter().rev() {
            daemon::stop(home, name)?;
        }
    }
    let mut report = Report::default();
    let debian = apt::usable();
    if debian && let Err(failure) = apt::install_missing(home) {
        report.lack("packages", &failure);
    }

    tools::find(&mut report);
    let busybox = report.part("busybox, static", busybox::install(home));
    if let Some(file) = &busybox {
        report.set("BUSYBOX_STATIC", file.display());
    }

    if let Some(gopath) = report.part("Go library for eStargz", golang::estargz(home)) {
        report.set("GOPATH_ESTARGZ", gopath.display());
    }

    // Debian roots take the longest, so they are built beside everything else.
    let (jre, python) = (Rootfs::jre(home), Rootfs::python(home));
    thread::scope(|scope| {
        let jre_built = scope.spawn(|| jre.build());
        let python_built = scope.spawn(|| python.build());

        let engine = report.part("docker engine", docker::start(home));
        let podman = report.part("podman service", podman::start(home));
        registry::start(home, &mut report);

        let mut images = Vec::new();
        if let Some(file) = busybox {
            images.push(("BUSYBOX_IMAGE", Image::busybox(home, &file)));
        }
        let built = |handle: thread::ScopedJoinHandle<'_, Result<()>>| {
            handle
                .join()
                .unwrap_or_else(|_| Err(Failure::new("its build panicked")))
        };
        for (root, handle, keys) in [
            (&jre, jre_built, ["JRE_ROOTFS", "JRE_IMAGE"]),
            (&python, python_built, ["PYTHON_ROOTFS", "PYTHON_IMAGE"]),
        ] {
            let [rootfs_key, image_key] = keys;
            let tar = built(handle).map(|()| root.tar().display().to_string());
            if let Some(tar) = report.part(&format!("root of {}", root.image().tag), tar) {
                report.set(rootfs_key, tar);
                images.push((image_key, Ok(root.image())));
            }
        }
        image::import_all(images, engine.as_ref(), podman.as_ref(), &mut report);
        if let Some(engine) = engine {
            engine.check_network(&mut report);
        }
    });

    report.write_env(&home.env_file())?;
    print!("{}", report.table());
    println!("\nenv  {}", home.env_file().display());
    report.verdict(debian)
}

fn stop(home: &Home) -> Result<()> {
    let _lock = home.create_and_lock()?;
    podman::remove_containers(home);
    let mut table = Table::new(&["part", "state"]);
    for (name, _) in DAEMONS.iter().rev() {
        let state = match daemon::stop(home, name) {
            Ok(Some(pid)) => format!("stopped (was pid {pid})"),
            Ok(None) => "not started from here".to_owned(),
            Err(failure) => format!("still running: {failure}"),
        };
        table.row([(*name).to_owned(), state]);
    }
    match fs::remove_file(home.env_file()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).context(|| format!("removing `{}`", home.env_file().display()))?;
        }
        _ => {}
    }
    print!("{}", table.render());
    for (name, _) in DAEMONS {
        if daemon::pid(home, name).is_some() {
            return Err(Failure::new(format!("`{name}` could not be stopped")));
        }
    }
    home.unmount_leftovers();
    Ok(())
}

/// Prints each part with its state; fails when a part that should be running is not.
fn status(home: &Home) -> Result<()> {
    let env = report::read_env(&home.env_file());
    let mut table = Table::new(&["part", "what", "state"]);
    let mut down = Vec::new();
    for (name, key) in DAEMONS {
        let address = env.get(key).cloned().unwrap_or_default();
        let state = state(home, name, &env).unwrap_or_else(|| {
            down.push(name);
            "not running".to_owned()
        });
        table.row([name.to_owned(), address, state]);
    }
    for (key, value) in &env {
        let state = match fs::exists(value) {
            Ok(true) => "there",
            Ok(false) if value.starts_with('/') => "gone",
            _ => continue,
        };
        table.row([key.clone(), value.clone(), state.to_owned()]);
    }
    print!("{}", table.render());
    if down.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "not running: {}; `cargo xtask peers` starts them",
        down.join(", ")
    )))
}

/// The variables that the last `cargo xtask peers` wrote down; none when there was none.
pub(crate) fn environment() -> Result<Vec<(String, String)>> {
    let home = Home::locate()?;
    Ok(report::read_env(&home.env_file()).into_iter().collect())
}

/// The peers file, if what it names still runs; says so if not.
pub(crate) fn running() -> Result<Option<PathBuf>> {
    let home = Home::locate()?;
    let file = home.env_file();
    let env = report::read_env(&file);
    let down: Vec<&str> = DAEMONS
        .iter()
        .filter(|(name, key)| env.contains_key(*key) && state(&home, name, &env).is_none())
        .map(|(name, _)| *name)
        .collect();
    if !down.is_empty() {
        eprintln!(
            "warning: no peer is used, since these run no more: {}; `cargo xtask peers` starts them",
            down.join(", ")
        );
        return Ok(None);
    }
    Ok(file.is_file().then_some(file))
}

/// How a long-lived part runs; none if it does not.
fn state(home: &Home, name: &str, env: &BTreeMap<String, String>) -> Option<String> {
    match daemon::pid(home, name) {
        Some(pid) => Some(format!("running, pid {pid}")),
        None if name == "docker" && engine_answers(env) => {
            Some("running, not started from here".to_owned())
        }
        None => None,
    }
}

fn engine_answers(env: &BTreeMap<String, String>) -> bool {
    let (Some(cli), Some(host)) = (env.get("DOCKER"), env.get("DOCKER_HOST")) else {
        return false;
    };
    process::output(Command::new(cli).args(["-H", host, "version"])).is_ok()
}
