use std::collections::BTreeMap;

use ocicore::Cx;
use repack::{EntryPath, Tree};

use crate::{
    Error, Result, UnsafeLauncher,
    context::{self, Context},
    edit::Edited,
    entrypoint::{ExecForm, NeedsShell, exec_form},
    image::{self, ImageConfig},
    job::{self, Job},
    options::{ConvertOptions, Entrypoint, UnsafeLaunchers},
    report::{Outcome, Report},
    signed::Original,
    wrapper::{self, FromOutside, Start},
};

/// A job after all edits of its files, which still lie where they were in its archive.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) job: Job,
    pub(crate) tree: Tree,
    pub(crate) edited: Edited,
    pub(crate) contexts: Vec<Context>,
    original: Option<Original>,
}

/// A job at its place in an image.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) image: ImageConfig,
    /// The script that starts it, for `/talend/bin/<job>`.
    pub(crate) script: String,
    pub(crate) exec_form: Result<ExecForm, NeedsShell>,
}

impl Prepared {
    pub(crate) fn new(
        cx: &Cx,
        mut tree: Tree,
        file_name: &str,
        options: &ConvertOptions,
    ) -> Result<Self> {
        for component in options.parent.components() {
            let component = String::from_utf8_lossy(component);
            job::check_name("parent directory", &component)?;
        }
        if let Some(volume) = options.volumes.iter().find(|path| !path.starts_with('/')) {
            return Err(Error::Name {
                what: "volume",
                value: volume.clone(),
                expected: "expected an absolute path",
            });
        }
        if !is_user(&options.user) {
            return Err(Error::Name {
                what: "user",
                value: options.user.clone(),
                expected: "expected `USER` or `USER:GROUP`, as names or numbers",
            });
        }
        let job = Job::discover(&tree, file_name)?;
        let original = Original::take(&mut tree, options.signed_files)?;
        let mut edited = Edited::edit(cx, &mut tree, &job, options)?;
        refuse(&edited.report, &job, options.unsafe_launchers)?;
        if let Some(metadata) = tree.metadata_mut(&job.launcher) {
            metadata.mode = 0o755;
        }
        let warnings = context::apply(&mut tree, &job, options)?;
        edited.report.warnings.extend(warnings);
        let contexts = context::contexts(&tree, &job)?;
        edited.report.warnings.extend(context::secrets(&contexts));
        if options.context_from_env.is_some() {
            let names = context::variable_names(&contexts);
            let warnings = wrapper::unreachable(&names).into_iter().map(|name| {
                format!("context variable `{name}` cannot be the name of an environment variable")
            });
            edited.report.warnings.extend(warnings);
        }
        Ok(Self {
            job,
            tree,
            edited,
            contexts,
            original,
        })
    }

    /// Reports what a signature of the build does not fit any more; the last of all edits.
    pub(crate) fn compare_signed(&mut self) -> Result<()> {
        if let Some(original) = self.original.take() {
            let (signed, warnings) = original.compare(&self.tree)?;
            self.edited.report.signed = Some(signed);
            self.edited.report.warnings.extend(warnings);
        }
        Ok(())
    }

    /// What the config of an image says when the job lies in `root`, below the parent directory.
    pub(crate) fn place(&self, root: &EntryPath, options: &ConvertOptions) -> Result<Placed> {
        let absolute = |path: &EntryPath| format!("/{}/{root}/{path}", options.parent);
        let launcher = absolute(&self.job.launcher);
        let directory = absolute(&self.job.directory);
        let exec_form = exec_form(&self.edited.launcher, &directory);
        let from_outside = match &options.context_from_env {
            Some(prefix) => Some(self.outside(prefix, options)?),
            None => None,
        };
        let start = Start {
            context: options.context.as_deref(),
            from_outside,
        };
        let mut env = image::env(&self.job, &options.parent);
        let entrypoint = match options.entrypoint {
            Entrypoint::Script if start.from_outside.is_some() => {
                let script = format!("/{}/bin/{}", options.parent, self.job.name);
                vec!["/bin/sh".to_owned(), script]
            }
            Entrypoint::Script => {
                let mut argv = self.edited.interpreter.argv().to_vec();
                argv.push(launcher.clone());
                argv.extend(start.context.map(|context| format!("--context={context}")));
                argv
            }
            Entrypoint::Exec => self.exec_entrypoint(&exec_form, &start, &mut env)?,
        };
        Ok(Placed {
            image: ImageConfig {
                entrypoint,
                env,
                labels: image::labels(&self.job, start.context),
                working_dir: directory,
                user: options.user.clone(),
                volumes: options.volumes.clone(),
            },
            script: wrapper::script(&self.job, &self.edited.interpreter, &launcher, &start),
            exec_form,
        })
    }

    fn exec_entrypoint(
        &self,
        form: &Result<ExecForm, NeedsShell>,
        start: &Start<'_>,
        env: &mut BTreeMap<String, String>,
    ) -> Result<Vec<String>> {
        let needs_shell = |error: &NeedsShell| Error::NeedsShell {
            path: self.job.launcher.to_string(),
            position: error.position,
            reason: error.reason.clone(),
        };
        let form = form.as_ref().map_err(needs_shell)?;
        if start.from_outside.is_some() {
            return Err(Error::ShellForContext {
                job: self.job.name.clone(),
            });
        }
        env.extend(form.env.clone());
        let mut argv = form.argv.clone();
        argv.extend(start.context.map(|context| format!("--context={context}")));
        Ok(argv)
    }

    fn outside<'a>(&'a self, prefix: &'a str, options: &ConvertOptions) -> Result<FromOutside<'a>> {
        if !wrapper::is_shell_name(prefix) {
            return Err(Error::Name {
                what: "prefix of environment variables",
                value: prefix.to_owned(),
                expected: "expected letters, digits and `_`, not beginning with a digit",
            });
        }
        Ok(FromOutside {
            prefix,
            directory: wrapper::context_directory(&options.parent),
            variables: context::variable_names(&self.contexts),
        })
    }
}

/// Whether an image's config may have it (image-spec §config, `User`).
fn is_user(text: &str) -> bool {
    let is_name = |name: &str| {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        !name.is_empty() && !name.starts_with('-') && name.bytes().all(good)
    };
    match text.split_once(':') {
        Some((user, group)) => is_name(user) && is_name(group),
        None => is_name(text),
    }
}

/// Turns what stops a conversion into an error.
fn refuse(report: &Report, job: &Job, answer: UnsafeLaunchers) -> Result<()> {
    let unix = job.launcher.to_string();
    let mut launchers = Vec::new();
    for launcher in &report.launchers {
        match &launcher.outcome {
            Outcome::Unresolved {
                position,
                placeholder,
            } => {
                return Err(Error::Unresolved {
                    path: launcher.path.clone(),
                    position: *position,
                    placeholder: placeholder.clone(),
                });
            }
            Outcome::Unsafe { position, reason } => launchers.push(UnsafeLauncher {
                path: launcher.path.clone(),
                position: *position,
                reason: reason.clone(),
            }),
            Outcome::NotALauncher { reason }
                if launcher.path == unix && answer == UnsafeLaunchers::Refuse =>
            {
                return Err(Error::NotALauncher {
                    path: unix,
                    reason: reason.clone(),
                });
            }
            _ => {}
        }
    }
    if launchers.is_empty() || answer == UnsafeLaunchers::Allow {
        Ok(())
    } else {
        Err(Error::UnsafeLaunchers { launchers })
    }
}
