//! Zips to layers, beside what people do today.

use std::{env, fs, path::Path};

use super::{Bench, WORKER, cpu, describe, peak, race, wall};
use crate::{
    Result,
    measure::Contender,
    table::{Bar, Table},
};

impl Bench {
    pub(super) fn talend_like(&self, zip: &Path, table: &mut Table) -> Result<()> {
        let description = describe("Talend-like zip of Debian's jars", zip)?;
        table.inputs.push(description);
        // Nothing is asked of the last one, so that it runs once.
        let contenders = self.contenders(zip, [self.rounds, self.rounds, self.rounds, 1])?;
        let runs = race("Talend-like", &contenders)?;
        let us = runs[0].wall();
        for (peer, bar) in [
            (1, Bar::AtLeast(14.0)),
            (2, Bar::AtLeast(8.0)),
            (3, Bar::AtLeast(11.0)),
            (4, Bar::None),
        ] {
            table.faster("Talend-like, wall", us, wall(&runs[peer]), bar);
        }
        let out = self.work.join("us.tar.gz");
        let check = Contender::new(
            "libdeflate-gzip -t of the output",
            Path::new(""),
            ["libdeflate-gzip".as_ref(), "-t".as_ref(), out.as_os_str()],
        );
        let inflate = race("Talend-like", &[(check, self.rounds)])?;
        let bar = Bar::AtMost(1.25);
        table.faster("Talend-like, wall", us, wall(&inflate[0]), bar);
        peak(table, "Talend-like, peak memory", &runs[0]);
        table.samples.push(("talend-like", runs));
        table.samples.push(("inflating talend-like", inflate));
        Ok(())
    }

    pub(super) fn texts(&self, zip: &Path, table: &mut Table) -> Result<()> {
        table.inputs.push(describe("small files of text", zip)?);
        let runs = race("texts", &self.contenders(zip, [self.rounds, 1, 1, 1])?)?;
        let us = runs[0].cpu();
        table.faster("texts, CPU", us, cpu(&runs[1]), Bar::AtLeast(7.0));
        for peer in &runs[2..5] {
            table.faster("texts, CPU", us, cpu(peer), Bar::None);
        }
        let recompressed = ("recompressed", self.size("unzip.tar.gz")?);
        let us = self.size("us.tar.gz")?;
        table.bytes("texts, output", us, recompressed, Bar::AtMost(1.06));
        peak(table, "texts, peak memory", &runs[0]);
        table.samples.push(("texts", runs));
        Ok(())
    }

    pub(super) fn large(&self, zip: &Path, table: &mut Table) -> Result<()> {
        table.inputs.push(describe("four large files", zip)?);
        // The others need a minute, and nothing is asked of them.
        let mut contenders = self.contenders(zip, [self.rounds, 0, 0, 0])?;
        contenders.truncate(2);
        let runs = race("large files", &contenders)?;
        let bar = Bar::AtLeast(12.0);
        table.faster("large files, CPU", runs[0].cpu(), cpu(&runs[1]), bar);
        peak(table, "large files, peak memory", &runs[0]);
        table.samples.push(("large", runs));
        Ok(())
    }

    /// Us first, then the peers with how often each runs; each writes its own file.
    fn contenders(&self, zip: &Path, rounds: [usize; 4]) -> Result<Vec<(Contender, usize)>> {
        let out = |name: &str| self.work.join(name);
        let (us, unzip, pigz) = (out("us.tar.gz"), out("unzip.tar.gz"), out("pigz.tar.gz"));
        let (bsd, baseline) = (out("bsdtar.tar.gz"), out("baseline.tar.gz"));
        let tree = out("tree");
        let unpack = "mkdir \"$3\" && unzip -q \"$1\" -d \"$3\" && \
             find \"$3\" -name '*_run.sh' -exec chmod +x {} +";
        let this = env::current_exe()?;
        let ours = [self.ours.as_os_str(), zip.as_os_str(), us.as_os_str()];
        let peers = [
            Contender::shell(
                "unzip + chmod + tar czf",
                &unzip,
                &format!("{unpack} && tar -czf \"$2\" -C \"$3\" ."),
                &[zip, &unzip, &tree],
            )
            .and(&tree),
            Contender::shell(
                "unzip + tar + pigz",
                &pigz,
                &format!("{unpack} && tar -cf - -C \"$3\" . | pigz > \"$2\""),
                &[zip, &pigz, &tree],
            )
            .and(&tree),
            Contender::shell(
                "bsdtar -czf @zip",
                &bsd,
                "bsdtar -czf \"$2\" \"@$1\"",
                &[zip, &bsd],
            ),
            Contender::new(
                "zip + tar + flate2",
                &baseline,
                [
                    this.as_os_str(),
                    WORKER.as_ref(),
                    "zip-tar-flate2".as_ref(),
                    zip.as_os_str(),
                    baseline.as_os_str(),
                ],
            ),
        ];
        let us = (Contender::new("us", &us, ours), self.rounds);
        Ok([us]
            .into_iter()
            .chain(peers.into_iter().zip(rounds))
            .collect())
    }

    fn size(&self, name: &str) -> Result<u64> {
        Ok(fs::metadata(self.work.join(name))?.len())
    }
}
