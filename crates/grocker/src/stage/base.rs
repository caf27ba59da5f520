use ocicore::Platform;

use super::{Stage, USER, install, kept_name};
use crate::{Base, Config, Key, Result};

/// The image that compiler and runner share, so that the libraries match.
pub(crate) fn base(config: &Config, from: &Base, platform: &Platform) -> Result<Stage> {
    let runtime = config.chosen_runtime()?;
    let packages: Vec<&str> = runtime
        .dependencies
        .run
        .iter()
        .chain(&config.dependencies.run)
        .map(String::as_str)
        .collect();
    let dockerfile = format!(
        "FROM {reference}\n\
         LABEL grocker.image.role=\"base\"\n\
         ENV LANG=\"C.UTF-8\"\n\
         {install}\
         RUN set -eu; \\\n\
         \x20   if ! id {USER} >/dev/null 2>&1; then \\\n\
         \x20       if command -v useradd >/dev/null; then \\\n\
         \x20           useradd --create-home --uid 1000 --user-group {USER}; \\\n\
         \x20       else \\\n\
         \x20           adduser -D -u 1000 {USER}; \\\n\
         \x20       fi; \\\n\
         \x20   fi\n",
        reference = from.reference,
        install = install(&packages)?,
    );
    let key = Key::new(&from.id, platform, &dockerfile, &[]);
    Ok(Stage {
        role: "base",
        name: kept_name(config, "base", key)?,
        key,
        dockerfile,
        files: Vec::new(),
    })
}
