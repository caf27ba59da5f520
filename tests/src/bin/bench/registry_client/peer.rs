//! Who pushes and pulls, as lines of shell: `$1` is the program, `$2` the layout, `$3` the
//! repository.

use std::{
    env,
    path::{Path, PathBuf},
};

use super::{image::TAG, worker::WORKER};
use crate::{Result, measure::Contender};

/// One client.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) name: &'static str,
    program: PathBuf,
    push: String,
    pull: String,
}

/// A push to a new repository each time, or to the one that is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum To {
    New,
    Named,
}

impl Peer {
    /// Us first, then skopeo and oci-client, then those whose paths were given.
    pub(super) fn all() -> Result<Vec<Self>> {
        let skopeo = env::var_os("SKOPEO").ok_or("skopeo is missing, see `cargo xtask peers`")?;
        let mut all = vec![
            Self::own("us", "push", "pull")?,
            Self::skopeo(skopeo.into()),
            Self::own("oci-client", "push-oci-client", "pull-oci-client")?,
        ];
        if let Some(program) = env::var_os("CRANE") {
            all.push(Self {
                name: "crane",
                program: program.into(),
                push: format!("exec \"$1\" push --insecure \"$2\" \"$to:{TAG}\""),
                pull: format!("exec \"$1\" pull --insecure --format=oci \"$3:{TAG}\" \"$2\""),
            });
        }
        if let Some(program) = env::var_os("REGCTL") {
            let copy = |host: &str, from: &str, to: &str| {
                format!(
                    "exec \"$1\" --host \"reg=${{{host}%%/*}},tls=disabled\" image copy \"{from}\" \"{to}\""
                )
            };
            let (layout, there) = (format!("ocidir://$2:{TAG}"), format!("$3:{TAG}"));
            all.push(Self {
                name: "regctl",
                program: program.into(),
                push: copy("to", &layout, &format!("$to:{TAG}")),
                pull: copy("3", &there, &layout),
            });
        }
        Ok(all)
    }

    /// Pulls with nothing but what has to be done.
    pub(super) fn floor() -> Result<Self> {
        Self::own("floor", "push", "pull-floor")
    }

    /// A worker of this program.
    fn own(name: &'static str, push: &str, pull: &str) -> Result<Self> {
        Ok(Self {
            name,
            program: env::current_exe()?,
            push: format!("exec \"$1\" {WORKER} {push} \"$2\" \"$to\""),
            pull: format!("exec \"$1\" {WORKER} {pull} \"$3\" \"$2\""),
        })
    }

    /// skopeo remembers on disk what it has pushed where, and would mount it from there: each run
    /// gets a memory of its own, as root by a mount that nobody else sees.
    fn skopeo(program: PathBuf) -> Self {
        let copy = "--insecure-policy copy --all --preserve-digests";
        Self {
            name: "skopeo",
            program,
            push: format!(
                "export XDG_DATA_HOME=\"$2.memory\"; cache=/var/lib/containers/cache; \
                 set -- \"$1\" {copy} --dest-tls-verify=false oci:\"$2\":{TAG} docker://\"$to\":{TAG}; \
                 if [ \"$(id -u)\" = 0 ]; then mkdir -p $cache; set -- unshare -m sh -euc \
                 'mount -t tmpfs none /var/lib/containers/cache; exec \"$@\"' sh \"$@\"; fi; exec \"$@\""
            ),
            pull: format!(
                "exec \"$1\" {copy} --src-tls-verify=false docker://\"$3\":{TAG} oci:\"$2\":{TAG}"
            ),
        }
    }

    pub(super) fn push(&self, layout: &Path, repository: &str, to: To) -> Contender {
        let to = match to {
            To::New => format!("to=\"$3-{}-$(date +%s%N)\"; ", self.name),
            To::Named => "to=\"$3\"; ".to_owned(),
        };
        let memory = layout.with_extension("memory");
        self.contender(&memory, &(to + &self.push), layout, repository)
    }

    pub(super) fn pull(&self, repository: &str, layout: &Path) -> Contender {
        self.contender(layout, &self.pull, layout, repository)
    }

    /// `output` is removed before each run.
    fn contender(&self, output: &Path, line: &str, layout: &Path, repository: &str) -> Contender {
        let args = [&*self.program, layout, Path::new(repository)];
        Contender::shell(self.name, output, line, &args)
    }
}
