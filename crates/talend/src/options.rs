use repack::{EntryPath, Mtime};

use crate::{properties::Properties, rewrite::PathQuoting};

/// How a built job is converted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConvertOptions {
    /// Names of files.
    pub layout: Layout,
    /// What to do when java cannot replace the shell.
    pub unsafe_launchers: UnsafeLaunchers,
    /// What to do about paths with blanks.
    pub paths: PathQuoting,
    /// Directory of all jobs in an image; `talend`.
    pub parent: EntryPath,
    /// User and group of an image; `65532:65532`, which is not root.
    pub user: String,
    /// Paths in the image that are volumes; none.
    pub volumes: Vec<String>,
    /// Time of modification of all entries; 1 s after the epoch.
    pub mtime: Mtime,
    /// What an image starts.
    pub entrypoint: Entrypoint,
    /// The context to run with; that of the launcher if none.
    pub context: Option<String>,
    /// Other values for variables of the context, which become part of the image.
    pub overrides: Properties,
    /// Prefix of environment variables that become `--context_param`, for example `CONTEXT_`; if
    /// none, there are no such variables.
    ///
    /// With it, `$CONTEXT_message` gives the context variable `message` its value, and so does the
    /// file that `$CONTEXT_message_FILE` names, and the file `/talend/config/context/message`.
    pub context_from_env: Option<String>,
    /// What becomes of what vouches for the build as a whole.
    pub signed_files: SignedFiles,
}

/// Names of files in the converted job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Layout {
    /// As in the built job.
    #[default]
    Plain,
    /// `jobInfo.properties` and `lib/routines.jar` get the job's name, as the original does to
    /// merge jobs into one directory; launchers and `classpath.jar` are kept in step.
    Job2docker,
}

/// What to do when java cannot replace the shell. Closed: the launcher stays as it is or is an
/// error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnsafeLaunchers {
    /// [`Error::UnsafeLaunchers`](crate::Error::UnsafeLaunchers).
    #[default]
    Refuse,
    /// The launcher stays as it is; the report says why.
    Allow,
}

/// What an image starts. Closed: with a shell or without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Entrypoint {
    /// The launcher, by its shell.
    #[default]
    Script,
    /// Java itself, with the arguments that the launcher gives it: needs no shell in the base
    /// image, and a plain launcher.
    Exec,
}

/// What becomes of `META-INF` and `crcMap` at the root of a build: its signature and its checksums,
/// which edits may break. Closed: they are there, elsewhere, or not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SignedFiles {
    /// They stay where they are, in images, too. Jobs that are merged and have others there than
    /// the jobs before them get a directory of their own.
    Keep,
    /// They go to `build/<Job>` where jobs are merged; images are without `META-INF`.
    #[default]
    Namespace,
    /// They are left out everywhere.
    Drop,
}

impl Default for ConvertOptions {
    fn default() -> Self {
        Self {
            layout: Layout::default(),
            unsafe_launchers: UnsafeLaunchers::default(),
            paths: PathQuoting::default(),
            parent: "talend".parse().expect("the literal is one component"),
            user: "65532:65532".to_owned(),
            volumes: Vec::new(),
            mtime: Mtime {
                seconds: 1,
                nanoseconds: 0,
            },
            entrypoint: Entrypoint::default(),
            context: None,
            overrides: Properties::default(),
            context_from_env: None,
            signed_files: SignedFiles::default(),
        }
    }
}

impl ConvertOptions {
    /// With other names of files.
    pub fn with_layout(mut self, layout: Layout) -> Self {
        self.layout = layout;
        self
    }

    /// With another answer to launchers in which java cannot replace the shell.
    pub fn with_unsafe_launchers(mut self, answer: UnsafeLaunchers) -> Self {
        self.unsafe_launchers = answer;
        self
    }

    /// With another answer to paths with blanks.
    pub fn with_paths(mut self, paths: PathQuoting) -> Self {
        self.paths = paths;
        self
    }

    /// With another directory of all jobs.
    pub fn with_parent(mut self, parent: EntryPath) -> Self {
        self.parent = parent;
        self
    }

    /// With another user, for example `0:0`.
    pub fn with_user(mut self, user: impl Into<String>) -> Self {
        self.user = user.into();
        self
    }

    /// With a volume, for example `/talend/out`.
    pub fn with_volume(mut self, path: impl Into<String>) -> Self {
        self.volumes.push(path.into());
        self
    }

    /// With another time of modification, for example `SOURCE_DATE_EPOCH`.
    pub fn with_mtime(mut self, mtime: Mtime) -> Self {
        self.mtime = mtime;
        self
    }

    /// With another way of starting.
    pub fn with_entrypoint(mut self, entrypoint: Entrypoint) -> Self {
        self.entrypoint = entrypoint;
        self
    }

    /// Runs with this context.
    pub fn with_context(mut self, context: impl Into<String>) -> Self {
        self.context = Some(context.into());
        self
    }

    /// With other values for variables of the context.
    pub fn with_overrides(mut self, overrides: Properties) -> Self {
        self.overrides = overrides;
        self
    }

    /// Takes values of context variables from the environment.
    pub fn with_context_from_env(mut self, prefix: impl Into<String>) -> Self {
        self.context_from_env = Some(prefix.into());
        self
    }

    /// With another answer to signatures and checksums of the build.
    pub fn with_signed_files(mut self, signed_files: SignedFiles) -> Self {
        self.signed_files = signed_files;
        self
    }
}
