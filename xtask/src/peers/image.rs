//! Images that tests start from, the same in each engine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Context as _, Result};
use crate::process;

use super::docker::Engine;
use super::home::Home;
use super::podman::Podman;
use super::report::Report;
use super::tools;

/// The smallest image that runs a shell.
pub(super) const BUSYBOX: &str = "gantry/busybox:1";

const RECIPE_LABEL: &str = "gantry.recipe";
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A root file system as a tar file, to be imported under a name.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) tag: &'static str,
    pub(super) tar: PathBuf,
    /// What it is made of; an engine's image with another recipe is replaced.
    pub(super) recipe: String,
    /// A command that works in it.
    pub(super) check: &'static [&'static str],
}

impl Image {
    /// The root that holds a static busybox and its commands.
    pub(super) fn busybox(home: &Home, program: &Path) -> Result<Self> {
        let tar = home.at("cache/busybox.tar");
        if !tar.exists() {
            pack_busybox(home, program, &tar)?;
        }
        let check = &["sh", "-c", "test -d /tmp && id -u"];
        Ok(Self {
            tag: BUSYBOX,
            tar,
            recipe: "busybox-static".to_owned(),
            check,
        })
    }

    /// Imports the image, unless the engine has it, and runs its check.
    fn import(&self, client: impl Fn() -> Command) -> Result<()> {
        let format = format!("{{{{index .Config.Labels \"{RECIPE_LABEL}\"}}}}");
        let mut inspect = client();
        inspect.args(["image", "inspect", "--format", &format, self.tag]);
        if process::output(&mut inspect).is_ok_and(|recipe| recipe == self.recipe) {
            return Ok(());
        }
        let mut import = client();
        import.arg("import");
        import.args(["--change", &format!("ENV PATH={PATH}")]);
        import.args([
            "--change",
            &format!("LABEL {RECIPE_LABEL}=\"{}\"", self.recipe),
        ]);
        import.args(["--change", "CMD [\"sh\"]"]);
        import.arg(&self.tar).arg(self.tag);
        process::output(&mut import)?;
        process::output(client().args(["run", "--rm", self.tag]).args(self.check)).map(drop)
    }
}

/// Imports images into the engines that there are. A variable is set when all of these have it.
pub(super) fn import_all(
    images: Vec<(&str, Result<Image>)>,
    engine: Option<&Engine>,
    podman: Option<&Podman>,
    report: &mut Report,
) {
    for (key, image) in images {
        let image = match image {
            Ok(image) => image,
            Err(failure) => {
                report.lack(key, failure);
                continue;
            }
        };
        let part = format!("image {}", image.tag);
        let mut names = Vec::new();
        let mut imported = Ok(());
        if let Some(engine) = engine {
            names.push("docker");
            imported = imported.and_then(|()| image.import(|| engine.client()));
        }
        if let Some(podman) = podman {
            names.push("podman");
            imported = imported.and_then(|()| image.import(|| podman.client()));
        }
        match imported {
            Ok(()) if names.is_empty() => report.lack(&part, "there is no engine to import it to"),
            Ok(()) => {
                report.have(&part, format!("in {}", names.join(" and ")));
                report.set(key, image.tag);
            }
            Err(failure) => report.lack(&part, failure),
        }
    }
}

fn pack_busybox(home: &Home, program: &Path, tar: &Path) -> Result<()> {
    let root = home.at("cache/busybox-root");
    let _ = fs::remove_dir_all(&root);
    for dir in ["bin", "etc", "tmp", "root", "proc", "sys", "dev"] {
        let dir = root.join(dir);
        fs::create_dir_all(&dir).context(|| format!("creating `{}`", dir.display()))?;
    }
    fs::copy(program, root.join("bin/busybox")).context(|| "copying busybox".to_owned())?;
    let users = [
        ("passwd", "root:x:0:0:root:/root:/bin/sh\n"),
        ("group", "root:x:0:\n"),
    ];
    for (name, line) in users {
        fs::write(root.join("etc").join(name), line).context(|| format!("writing /etc/{name}"))?;
    }
    for applet in process::output(Command::new(program).arg("--list"))?.lines() {
        let link = root.join("bin").join(applet);
        if applet != "busybox" {
            fs::hard_link(root.join("bin/busybox"), &link)
                .context(|| format!("linking `{}`", link.display()))?;
        }
    }
    process::output(Command::new("chmod").arg("1777").arg(root.join("tmp")))?;
    let part = tar.with_extension("part");
    let mut pack = Command::new(tools::path("tar")?);
    pack.args([
        "--create",
        "--sort=name",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
    ]);
    pack.arg("--mode=a+rX,u+w")
        .args(["--mtime=@1", "--file"])
        .arg(&part);
    process::output(pack.arg("--directory").arg(&root).arg("."))?;
    fs::rename(&part, tar).context(|| format!("renaming `{}`", part.display()))
}
