use ocicore::Platform;

use super::{Stage, USER, install, kept_name, text};
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
    let (repositories, files) = repositories(config)?;
    let dockerfile = format!(
        "FROM {reference}\n\
         LABEL grocker.image.role=\"base\"\n\
         ENV LANG=\"C.UTF-8\"\n\
         {repositories}\
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
    let key = Key::new(&from.id, platform, &dockerfile, &files);
    Ok(Stage {
        role: "base",
        name: kept_name(config, "base", key)?,
        key,
        dockerfile,
        files,
    })
}

/// Adds the package repositories, each with the key that signs it and no other (apt-key is gone
/// from Debian 13).
fn repositories(config: &Config) -> Result<(String, Vec<(String, String)>)> {
    let (mut dockerfile, mut files) = (String::new(), Vec::new());
    for (name, repository) in &config.repositories {
        text::repository(name, &repository.uri)?;
        let key = format!("{name}.key");
        let deb = repository
            .uri
            .strip_prefix("deb ")
            .unwrap_or(&repository.uri)
            .trim();
        dockerfile += &format!(
            "COPY {key} /tmp/{key}\n\
             RUN set -eu; \\\n\
             \x20   if [ -d /etc/apt ]; then \\\n\
             \x20       mkdir -p /etc/apt/keyrings; \\\n\
             \x20       mv /tmp/{key} /etc/apt/keyrings/{name}.asc; \\\n\
             \x20       echo 'deb [signed-by=/etc/apt/keyrings/{name}.asc] {deb}' \\\n\
             \x20           > /etc/apt/sources.list.d/{name}.list; \\\n\
             \x20   else \\\n\
             \x20       mv /tmp/{key} /etc/apk/keys/{name}.rsa.pub; \\\n\
             \x20       echo '@{name} {deb}' >> /etc/apk/repositories; \\\n\
             \x20   fi\n"
        );
        files.push((key, repository.key.clone()));
    }
    Ok((dockerfile, files))
}
