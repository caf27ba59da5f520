use ocicore::Platform;

use super::{Compile, Stage, USER, install, kept_name};
use crate::{Config, Key, Release, Result, Source};

/// Where the compiler leaves the wheels.
pub(crate) const COMPILED: &str = "/home/grocker/wheels";
/// Where it finds wheels of this machine.
pub(crate) const SOURCES: &str = "/home/grocker/sources";

/// Compiles what its arguments name, with all dependencies, to wheels. A virtual environment has a
/// pip that Debian does not forbid to work (PEP 668).
const SCRIPT: &str = "#!/bin/sh\n\
    set -eu\n\
    python=$1\n\
    shift\n\
    if [ -n \"${GROCKER_CONSTRAINTS:-}\" ]; then\n\
    \x20   printf '%s\\n' \"$GROCKER_CONSTRAINTS\" > /tmp/constraints.txt\n\
    \x20   export PIP_CONSTRAINT=/tmp/constraints.txt\n\
    fi\n\
    \"$python\" -m venv /tmp/compiler\n\
    exec /tmp/compiler/bin/pip wheel --no-cache-dir --disable-pip-version-check \\\n\
    \x20   --wheel-dir /home/grocker/wheels \"$@\"\n";

/// The base image with what it takes to compile.
pub(crate) fn compiler(config: &Config, base: &Stage, platform: &Platform) -> Result<Stage> {
    let runtime = config.chosen_runtime()?;
    let packages: Vec<&str> = runtime
        .dependencies
        .build
        .iter()
        .chain(&config.dependencies.build)
        .map(String::as_str)
        .collect();
    let dockerfile = format!(
        "FROM {base}\n\
         LABEL grocker.image.role=\"compiler\"\n\
         {install}\
         COPY compile.sh /usr/local/bin/grocker-compile\n\
         RUN chmod 0755 /usr/local/bin/grocker-compile && \\\n\
         \x20   mkdir -p {COMPILED} {SOURCES} && chown {USER} {COMPILED} {SOURCES}\n\
         USER {USER}\n\
         WORKDIR /home/grocker\n",
        base = base.name,
        install = install(&packages)?,
    );
    let files = vec![("compile.sh".to_owned(), SCRIPT.to_owned())];
    let key = Key::new(base.key.digest(), platform, &dockerfile, &files);
    Ok(Stage {
        role: "compiler",
        name: kept_name(config, "compiler", key)?,
        key,
        dockerfile,
        files,
    })
}

/// What the compiler is told.
pub(crate) fn compile(config: &Config, release: &Release) -> Result<Compile> {
    let runtime = config.chosen_runtime()?;
    let python = runtime.runtime.unwrap_or_else(|| "python3".to_owned());
    super::text::command(&python)?;
    let mut command = vec!["/usr/local/bin/grocker-compile".to_owned(), python];
    match release.source() {
        Source::Index => command.push(release.requirement()),
        Source::Wheel(path) => {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            let extras = match release.extras() {
                [] => String::new(),
                _ => format!("[{}]", release.extras_text()),
            };
            command.push(format!("{SOURCES}/{file}{extras}"));
        }
    }
    Ok(Compile {
        command,
        constraints: config.pip_constraint.clone(),
    })
}
