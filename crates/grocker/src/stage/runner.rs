use ocicore::Platform;

use super::{Stage, USER, VENV, name, text};
use crate::{Config, Key, Release, Result};

/// Folder of the wheels in the build context.
pub(crate) const WHEELS: &str = "wheels";

/// A clean base with the application. It is installed in a stage of its own, so that no layer of
/// the result holds the wheels.
pub(crate) fn runner(
    config: &Config,
    release: &Release,
    base: &Stage,
    platform: &Platform,
) -> Result<Stage> {
    let python = config
        .chosen_runtime()?
        .runtime
        .unwrap_or_else(|| "python3".to_owned());
    let entrypoint = config
        .entrypoint_name
        .as_deref()
        .unwrap_or("grocker-runner");
    text::command(&python)?;
    text::command(entrypoint)?;
    let mut dockerfile = format!(
        "FROM {base} AS install\n\
         COPY {WHEELS} /tmp/{WHEELS}\n\
         RUN {python} -m venv {VENV} && \\\n\
         \x20   {VENV}/bin/pip install --no-cache-dir --disable-pip-version-check --no-index \\\n\
         \x20       --find-links=/tmp/{WHEELS} '{requirement}'\n\
         FROM {base}\n\
         COPY --from=install {VENV} {VENV}\n\
         LABEL grocker.image.role=\"runner\" grocker.app.name=\"{name}\" \\\n\
         \x20   grocker.app.extras=\"{extras}\" grocker.app.version=\"{version}\"\n\
         ENV PATH=\"{VENV}/bin:$PATH\"\n\
         ENV GROCKER_APP=\"{name}\" GROCKER_APP_EXTRAS=\"{extras}\" GROCKER_APP_VERSION=\"{version}\"\n",
        base = base.name,
        requirement = release.requirement(),
        name = release.name(),
        extras = release.extras_text(),
        version = release.version(),
    );
    for (variable, value) in &config.envs {
        dockerfile += &text::env(variable, value)?;
    }
    for port in &config.ports {
        text::port(port)?;
        dockerfile += &format!("EXPOSE {port}\n");
    }
    for volume in &config.volumes {
        text::volume(volume)?;
        dockerfile += &format!("VOLUME [\"{volume}\"]\n");
    }
    dockerfile += &format!("USER {USER}\nWORKDIR /home/grocker\nENTRYPOINT [\"{entrypoint}\"]\n");
    let path = match &config.image_base_name {
        Some(name) => name.clone(),
        None => release.image_path()?.to_string(),
    };
    let key = Key::new(base.key.digest(), platform, &dockerfile, &[]);
    let name = name(config, &path, release.image_tag()?.as_str())?;
    Ok(Stage {
        role: "runner",
        name,
        key,
        dockerfile,
        files: Vec::new(),
    })
}
