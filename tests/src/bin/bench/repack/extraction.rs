//! Layers to files, on the disk and in memory.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use super::{Bench, WORKER, race, wall};
use crate::{
    Result,
    measure::{Contender, Measured, TMPFS},
    table::{Bar, Table},
};

impl Bench {
    pub(super) fn extraction(&self, zip: &Path, files: usize, table: &mut Table) -> Result<()> {
        let layer = self.work.join("layer.tar.gz");
        let made = Command::new(&self.ours).arg(zip).arg(&layer).output()?;
        if !made.status.success() {
            return Err(format!("zip2layer: {}", made.status).into());
        }
        let image = self.image(&layer)?;
        let disk = tempfile::tempdir_in(&self.work)?;
        let runs = self.extract("same disk", &layer, &image, disk.path())?;
        let figure = format!("{files} files extracted to disk, wall");
        for peer in &runs[1..] {
            table.faster(&figure, runs[0].wall(), wall(peer), Bar::AtLeast(2.0));
        }
        table.samples.push(("extraction to disk", runs));
        let memory = tempfile::tempdir_in(TMPFS)?;
        let runs = self.extract("tmpfs", &layer, &image, memory.path())?;
        let figure = format!("{files} files extracted to tmpfs, wall");
        for (peer, bar) in [(1, Bar::AtLeast(2.5)), (2, Bar::None), (3, Bar::None)] {
            table.faster(&figure, runs[0].wall(), wall(&runs[peer]), bar);
        }
        table.samples.push(("extraction to tmpfs", runs));
        Ok(())
    }

    /// Us, GNU tar, the tar crate and umoci, none of which synchronizes what it wrote.
    fn extract(&self, place: &str, layer: &Path, image: &Path, to: &Path) -> Result<Vec<Measured>> {
        let this = env::current_exe()?;
        let worker = |name, what: &str, to: &Path| {
            let words = [
                this.as_os_str(),
                WORKER.as_ref(),
                what.as_ref(),
                layer.as_os_str(),
                to.as_os_str(),
            ];
            Contender::new(name, to, words)
        };
        let (us, gnu, bundle) = (to.join("us"), to.join("gnu"), to.join("umoci"));
        let contenders = [
            (worker("us", "extract", &us), self.rounds),
            (
                Contender::shell(
                    "GNU tar -xzf",
                    &gnu,
                    "mkdir \"$2\" && tar -xzf \"$1\" -C \"$2\"",
                    &[layer, &gnu],
                ),
                self.rounds,
            ),
            (
                worker("the tar crate", "tar-unpack", &to.join("crate")),
                self.rounds,
            ),
            // Far off, and slow.
            (
                Contender::shell(
                    "umoci unpack",
                    &bundle,
                    "umoci unpack --image \"$1:bench\" \"$2\"",
                    &[image, &bundle],
                ),
                1,
            ),
        ];
        race(place, &contenders)
    }

    /// An image with this one layer, for umoci.
    fn image(&self, layer: &Path) -> Result<PathBuf> {
        let image = self.work.join("image");
        let line = "umoci init --layout \"$2\" && umoci new --image \"$2:bench\" && \
             gzip -dc \"$1\" > \"$2.tar\" && umoci raw add-layer --image \"$2:bench\" \"$2.tar\" && \
             rm \"$2.tar\"";
        let made = Command::new("sh")
            .args(["-euc", line, "sh"])
            .args([layer, &image])
            .output()?;
        if !made.status.success() {
            let error = String::from_utf8_lossy(&made.stderr).into_owned();
            return Err(format!("umoci cannot make an image: {error}").into());
        }
        Ok(image)
    }
}
