//! `cargo xtask depcheck`: the edges between our crates are those of the design, and no others.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::process::Command;

use serde_json::Value;

use crate::failure::{Failure, Result, USAGE};
use crate::process;
use crate::table::Table;
use crate::workspace;

/// Which of our crates a crate may depend on, for what it is built of. A new line or name here is a
/// change of the design: ARCHITECTURE.md must say why.
const ALLOWED: &[(&str, &[&str])] = &[
    // The nouns and ports.
    ("ocicore", &[]),
    // One concern each; they do not know each other.
    ("repack", &["ocicore"]),
    ("ociregistry", &["ocicore"]),
    ("registryd", &["ocicore"]),
    ("engine", &["ocicore"]),
    // The tools; they take stores and engines as ports, and so name no registry client.
    ("talend", &["ocicore", "repack"]),
    ("chain", &["ocicore", "engine", "repack"]),
    ("grocker", &["ocicore", "engine", "repack"]),
    ("gating", &["ocicore"]),
    ("layerpkg", &["ocicore", "repack"]),
    // What puts the parts together.
    ("examples", LIBRARIES),
    ("e2e", LIBRARIES),
    // The tasks must run while the rest does not compile.
    ("xtask", &[]),
];

/// What tests may use beyond that.
const ALLOWED_IN_TESTS: &[(&str, &[&str])] = &[
    ("repack", DOUBLES),
    ("ociregistry", DOUBLES),
    // Server and client are tested with one another.
    ("registryd", &["registryd", "engine", "ociregistry"]),
    ("engine", DOUBLES),
    ("talend", DOUBLES),
    ("chain", DOUBLES),
    ("grocker", DOUBLES),
    ("gating", DOUBLES),
    ("layerpkg", DOUBLES),
];

/// The embedded server and the fake engine.
const DOUBLES: &[&str] = &["registryd", "engine"];

const LIBRARIES: &[&str] = &[
    "ocicore",
    "repack",
    "ociregistry",
    "registryd",
    "engine",
    "talend",
    "chain",
    "grocker",
    "gating",
    "layerpkg",
];

pub(crate) fn run(args: &[String]) -> Result<()> {
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => check(),
        ["--list"] => {
            print!("{}", list());
            Ok(())
        }
        _ => Err(Failure::with_status(
            USAGE,
            "usage: cargo xtask depcheck [--list]",
        )),
    }
}

fn check() -> Result<()> {
    let mut metadata = Command::new(workspace::cargo());
    metadata.args([
        "metadata",
        "--format-version",
        "1",
        "--no-deps",
        "--manifest-path",
    ]);
    let metadata = process::output(metadata.arg(workspace::root().join("Cargo.toml")))?;
    let edges = edges(&metadata)?;
    let faults = faults(&edges);
    for fault in &faults {
        eprintln!("{fault}");
    }
    if faults.is_empty() {
        println!(
            "{} edges between our crates, all in the design",
            edges.len()
        );
        return Ok(());
    }
    let message = format!("{} edges that the design does not have", faults.len());
    Err(Failure::new(format!(
        "{message}; `cargo xtask depcheck --list` prints those it has"
    )))
}

/// One crate of ours depends on another.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Edge {
    from: String,
    to: String,
    kind: Kind,
}

/// What for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Normal,
    Build,
    Dev,
}

impl Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = match self.kind {
            Kind::Normal => "dependencies",
            Kind::Build => "build-dependencies",
            Kind::Dev => "dev-dependencies",
        };
        write!(
            f,
            "`{}` must not have `{}` in its {table}",
            self.from, self.to
        )
    }
}

/// The edges between workspace members, each once, sorted.
fn edges(metadata: &str) -> Result<Vec<Edge>> {
    let metadata: Value = serde_json::from_str(metadata)
        .map_err(|error| Failure::new(format!("reading what `cargo metadata` printed: {error}")))?;
    let packages = array(&metadata["packages"]);
    let members: Vec<&str> = packages
        .iter()
        .filter_map(|one| one["name"].as_str())
        .collect();
    let mut edges = Vec::new();
    for package in packages {
        let from = package["name"].as_str().unwrap_or_default();
        for dependency in array(&package["dependencies"]) {
            let to = dependency["name"].as_str().unwrap_or_default();
            let kind = match dependency["kind"].as_str() {
                None => Kind::Normal,
                Some("build") => Kind::Build,
                Some("dev") => Kind::Dev,
                Some(other) => {
                    let message = format!("`{from}` depends on `{to}` in a new way: `{other}`");
                    return Err(Failure::new(message));
                }
            };
            // A crate of the same name from elsewhere has no path.
            if dependency["path"].is_string() && members.contains(&to) {
                edges.push(Edge {
                    from: from.to_owned(),
                    to: to.to_owned(),
                    kind,
                });
            }
        }
    }
    edges.sort();
    edges.dedup();
    Ok(edges)
}

/// The edges that the tables do not have.
fn faults(edges: &[Edge]) -> Vec<&Edge> {
    edges.iter().filter(|edge| !allowed(edge)).collect()
}

fn allowed(edge: &Edge) -> bool {
    let has = |table: &[(&str, &[&str])]| {
        table
            .iter()
            .any(|(from, to)| *from == edge.from && to.contains(&&*edge.to))
    };
    match edge.kind {
        Kind::Normal | Kind::Build => has(ALLOWED),
        // A crate may take itself with other features.
        Kind::Dev => has(ALLOWED) || has(ALLOWED_IN_TESTS) || edge.from == edge.to,
    }
}

fn list() -> String {
    let in_tests: BTreeMap<&str, &[&str]> = ALLOWED_IN_TESTS.iter().copied().collect();
    let mut table = Table::new(&["crate", "may depend on", "and in its tests on"]);
    for (from, to) in ALLOWED {
        let more = in_tests.get(from).copied().unwrap_or_default();
        let more: Vec<&str> = more
            .iter()
            .copied()
            .filter(|name| !to.contains(name))
            .collect();
        let to = if *to == LIBRARIES {
            "every library".to_owned()
        } else {
            to.join(", ")
        };
        table.row([(*from).to_owned(), to, more.join(", ")]);
    }
    table.render()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(from: &str, to: &str, kind: Kind) -> Edge {
        Edge {
            from: from.to_owned(),
            to: to.to_owned(),
            kind,
        }
    }

    #[test]
    fn the_design() {
        use Kind::{Build, Dev, Normal};
        let cases = [
            ("repack", "ocicore", Normal, true),
            ("repack", "ocicore", Build, true),
            ("repack", "ocicore", Dev, true),
            ("ocicore", "repack", Normal, false),
            ("ocicore", "ocicore", Dev, true),
            ("ocicore", "registryd", Dev, false),
            ("talend", "ociregistry", Normal, false),
            ("talend", "ociregistry", Dev, false),
            ("talend", "registryd", Dev, true),
            ("talend", "registryd", Normal, false),
            ("talend", "registryd", Build, false),
            ("registryd", "ociregistry", Dev, true),
            ("chain", "engine", Normal, true),
            ("gating", "engine", Normal, false),
            ("examples", "ociregistry", Normal, true),
            ("e2e", "examples", Normal, false),
            ("xtask", "ocicore", Dev, false),
            ("newcomer", "ocicore", Normal, false),
        ];
        for (from, to, kind, expected) in cases {
            assert_eq!(
                allowed(&edge(from, to, kind)),
                expected,
                "{from} -> {to} ({kind:?})"
            );
        }
    }

    #[test]
    fn edges_are_those_between_members() {
        let metadata = r#"{"packages": [
            {"name": "ocicore", "dependencies": [{"name": "tar", "kind": null}]},
            {"name": "talend", "dependencies": [
                {"name": "ocicore", "kind": null, "path": "/x/ocicore"},
                {"name": "ocicore", "kind": "dev", "path": "/x/ocicore"},
                {"name": "ocicore", "kind": "build"}
            ]}
        ]}"#;
        let expected = [
            edge("talend", "ocicore", Kind::Normal),
            edge("talend", "ocicore", Kind::Dev),
        ];
        assert_eq!(edges(metadata).expect("the metadata is valid"), expected);
    }

    #[test]
    fn a_fault_names_the_table_of_the_manifest() {
        let edges = [edge("gating", "ociregistry", Kind::Normal)];
        let faults: Vec<String> = faults(&edges).iter().map(ToString::to_string).collect();
        assert_eq!(
            faults,
            ["`gating` must not have `ociregistry` in its dependencies"]
        );
    }

    #[test]
    fn tables_name_each_crate_once_and_only_crates() {
        let mut crates: Vec<&str> = ALLOWED.iter().map(|(from, _)| *from).collect();
        let named = crates.len();
        crates.sort_unstable();
        crates.dedup();
        assert_eq!(crates.len(), named);
        for (_, to) in ALLOWED.iter().chain(ALLOWED_IN_TESTS) {
            assert!(to.iter().all(|name| LIBRARIES.contains(name)), "{to:?}");
        }
    }
}
