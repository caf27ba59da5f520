use ocicore::{Digest, Platform, Reference};
use serde::Serialize;

use crate::{
    Config, Release, Result,
    stage::{self, Compile, Stage},
};

/// The image on which all is built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Base {
    /// Its name.
    pub reference: Reference,
    /// What the name means now: the digest of its config.
    pub id: Digest,
}

/// What will be built. Pure data: shown by `--dry-run`, compared by snapshots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Plan {
    /// The application, for example `httpie==3.2.4`.
    pub release: String,
    /// On what.
    pub from: Base,
    /// What the application needs to run; reused.
    pub base: Stage,
    /// What it needs to be compiled; reused.
    pub compiler: Stage,
    /// How it is compiled.
    pub compile: Compile,
    /// The application.
    pub runner: Stage,
    /// For which platform.
    pub platform: String,
}

/// Plans all stages.
///
/// # Errors
/// [`Error::Value`](crate::Error::Value) if a name or value of the configuration cannot be used.
pub fn plan(config: &Config, release: &Release, from: &Base, platform: &Platform) -> Result<Plan> {
    let base = stage::base(config, from, platform)?;
    let compiler = stage::compiler(config, &base, platform)?;
    let runner = stage::runner(config, release, &base, platform)?;
    Ok(Plan {
        release: release.to_string(),
        from: from.clone(),
        compile: stage::compile(config, release)?,
        base,
        compiler,
        runner,
        platform: platform.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(config: &str, id: &[u8]) -> Plan {
        let base = Base {
            reference: "debian:12".parse().unwrap(),
            id: Digest::of(id),
        };
        let config = Config::parse("x", config).unwrap();
        let release = "My.App[web]==1.0+x".parse().unwrap();
        plan(&config, &release, &base, &Platform::new("linux", "amd64")).unwrap()
    }

    #[test]
    fn all_stages_are_planned() {
        let config = "dependencies: {run: [libpq5, ca-certificates], build: [gcc]}\n\
            ports: [8080]\nvolumes: [/media]\nenvs: {GREETING: 'say \"$HOME\" \\'}\n\
            repositories: {nginx: {uri: 'deb http://nginx.example/debian bookworm nginx', key: 'KEY'}}\n\
            entrypoint_name: my-app\ndocker_image_prefix: localhost:5000/team\n";
        let plan = planned(config, b"1");
        let stages = [&plan.base, &plan.compiler, &plan.runner];
        let text: Vec<_> = stages
            .iter()
            .map(|stage| format!("# {}\n{}", stage.name, stage.dockerfile))
            .collect();
        insta::assert_snapshot!(text.join("\n"));
    }

    #[test]
    fn only_what_matters_changes_a_key() {
        let plan = planned("dependencies: {run: [a, b]}", b"1");
        let same = planned("dependencies: {run: [b, a]}\nports: [80]", b"1");
        assert_eq!(
            plan.base.key, same.base.key,
            "order and ports do not matter"
        );
        let newer = planned("dependencies: {run: [a, b]}", b"2");
        assert_ne!(plan.base.key, newer.base.key, "a newer image below");
        assert_ne!(plan.compiler.key, newer.compiler.key);
        let tools = planned("dependencies: {run: [a, b], build: [c]}", b"1");
        assert_eq!(plan.base.key, tools.base.key);
        assert_ne!(plan.compiler.key, tools.compiler.key);
    }

    #[test]
    fn bad_values_are_refused() {
        let base = Base {
            reference: "debian:12".parse().unwrap(),
            id: Digest::of(b""),
        };
        let release = "a==1".parse().unwrap();
        let mut errors = Vec::new();
        for text in [
            "ports: ['80 90']",
            "ports: [99999]",
            "volumes: [media]",
            "envs: {'A B': x}",
            "envs: {A: \"x\\ny\"}",
            "entrypoint_name: 'a b'",
            "dependencies: {run: ['x; rm']}",
            "docker_image_prefix: 'Bad Prefix'",
            "repositories: {x: {uri: \"deb http://h' x\"}}",
            "repositories: {'a b': {uri: 'deb http://h x y'}}",
        ] {
            let config = Config::parse("x", text).unwrap();
            let error = plan(&config, &release, &base, &Platform::host()).unwrap_err();
            errors.push(error.to_string());
        }
        insta::assert_snapshot!(errors.join("\n"));
    }
}
