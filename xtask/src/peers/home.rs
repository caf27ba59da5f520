//! The folder that the peers live in.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Context as _, Result};
use crate::process;
use crate::workspace;

/// Paths under the peers' folder, and a short folder for sockets.
#[derive(Debug)]
pub(super) struct Home {
    dir: PathBuf,
    run: PathBuf,
}

impl Home {
    /// `GANTRY_PEERS_DIR`, else `peers` in the target folder.
    pub(super) fn locate() -> Result<Self> {
        let dir = env::var_os("GANTRY_PEERS_DIR")
            .filter(|dir| !dir.is_empty())
            .map_or_else(|| workspace::target().join("peers"), PathBuf::from);
        let dir =
            std::path::absolute(&dir).context(|| format!("making `{}` absolute", dir.display()))?;
        // A socket's path must fit in 108 bytes, which a folder below a checkout may not leave.
        let run = runtime_dir().join(format!(
            "gantry-{:08x}",
            hash(dir.as_os_str().as_encoded_bytes())
        ));
        Ok(Self { dir, run })
    }

    /// Makes the folders and waits until no other task changes them.
    pub(super) fn create_and_lock(&self) -> Result<File> {
        for dir in [
            &self.dir,
            &self.run,
            &self.at("logs"),
            &self.at("cache"),
            &self.at("bin"),
        ] {
            fs::create_dir_all(dir).context(|| format!("creating `{}`", dir.display()))?;
        }
        let path = self.at("lock");
        let file = File::create(&path).context(|| format!("creating `{}`", path.display()))?;
        file.lock()
            .context(|| format!("locking `{}`", path.display()))?;
        Ok(file)
    }

    pub(super) fn exists(&self) -> bool {
        self.dir.is_dir()
    }

    /// A path below the peers' folder.
    pub(super) fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        self.dir.join(path)
    }

    /// A path for sockets and other state that does not outlive the machine's uptime.
    pub(super) fn run(&self, path: impl AsRef<Path>) -> PathBuf {
        self.run.join(path)
    }

    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.at("logs").join(format!("{name}.log"))
    }

    /// The file of `KEY=value` lines.
    pub(super) fn env_file(&self) -> PathBuf {
        self.at("env")
    }

    /// Unmounts what engines left mounted below our folders, so that these can be deleted.
    pub(super) fn unmount_leftovers(&self) {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let mut ours: Vec<&Path> = mounts
            .lines()
            .filter_map(|line| line.split(' ').nth(1).map(Path::new))
            .filter(|at| at.starts_with(&self.dir) || at.starts_with(&self.run))
            .collect();
        ours.sort_by_key(|at| std::cmp::Reverse(at.as_os_str().len()));
        for at in ours {
            if let Err(failure) = process::output(Command::new("umount").arg(at)) {
                eprintln!("warning: {failure}");
            }
        }
    }
}

/// A folder with a short path that does not survive a reboot: `/run` for root.
pub(super) fn runtime_dir() -> PathBuf {
    if super::apt::is_root() {
        PathBuf::from("/run")
    } else {
        env::temp_dir()
    }
}

/// FNV-1a: short, and the same in every build.
fn hash(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

/// Writes a file so that readers see the old content or the new.
pub(super) fn write(path: &Path, content: &str) -> Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    fs::write(&part, content).context(|| format!("writing `{}`", part.display()))?;
    fs::rename(&part, path).context(|| format!("renaming `{}`", part.display()))
}

/// Writes an executable script.
pub(super) fn write_script(path: &Path, content: &str) -> Result<()> {
    write(path, content)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))
            .context(|| format!("making `{}` executable", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_keeps_its_run_folder() {
        assert_eq!(hash(b""), 0x811c_9dc5);
        assert_eq!(hash(b"foobar"), 0xbf9c_f968);
    }
}
