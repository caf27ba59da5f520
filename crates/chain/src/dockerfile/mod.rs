//! Dockerfiles, as far as it matters which images they use.
//!
//! Everything else is the engine's business: an instruction that is not known here is none of ours.

mod expand;
mod instruction;
mod lexer;
mod parents;

use serde::Serialize;

pub use parents::{Base, BaseImage};

use crate::place::Position;

/// What a Dockerfile says about images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dockerfile {
    /// `ARG` before the first `FROM`, in their order.
    pub args: Vec<Arg>,
    /// The stages; at least one.
    pub stages: Vec<Stage>,
    /// The escape character: a backslash unless the directive `escape` says otherwise.
    pub escape: char,
    /// The first instruction that only BuildKit understands.
    pub buildkit: Option<u32>,
}

/// An `ARG`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Arg {
    /// Its name.
    pub name: String,
    /// Its default as it is written, with quotes and variables.
    pub default: Option<String>,
    /// Where it is.
    pub line: u32,
}

/// A stage: from a `FROM` to the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stage {
    /// Its name in lower case: what is behind `AS`.
    pub name: Option<String>,
    /// What it begins with, as it is written, with variables.
    pub base: String,
    /// Where it begins.
    pub line: u32,
    /// The images and stages that it takes files from.
    pub imports: Vec<Import>,
}

/// Files that come from an image or a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Import {
    /// The image, or the name or number of a stage, as it is written.
    pub from: String,
    /// Which instruction it is.
    pub instruction: Instruction,
    /// Where it is.
    pub line: u32,
}

/// How a Dockerfile or a packer template uses an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[non_exhaustive]
pub enum Instruction {
    /// `FROM`: a stage begins with it.
    #[serde(rename = "FROM")]
    From,
    /// `COPY --from`: files come from it.
    #[serde(rename = "COPY --from")]
    Copy,
    /// `RUN --mount=from`: a command sees its files.
    #[serde(rename = "RUN --mount=from")]
    Mount,
    /// `image` of a packer template's builder: its container begins with it.
    #[serde(rename = "image")]
    Image,
}

impl std::fmt::Display for Instruction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::From => "FROM",
            Self::Copy => "COPY --from",
            Self::Mount => "RUN --mount=from",
            Self::Image => "image",
        })
    }
}

/// What is wrong with a file, and where in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{position}: {message}")]
#[non_exhaustive]
pub struct Wrong {
    /// Where.
    pub position: Position,
    /// What is wrong, and what was expected.
    pub message: String,
}

impl Wrong {
    pub(crate) fn new(position: Position, message: impl Into<String>) -> Self {
        Self {
            position,
            message: message.into(),
        }
    }

    fn at_line(line: u32, message: impl Into<String>) -> Self {
        Self::new(Position { line, column: 1 }, message)
    }
}

/// Reads the text of a Dockerfile.
///
/// ```
/// use chain::dockerfile;
///
/// let text = "ARG DEBIAN=12\nFROM debian:$DEBIAN AS build\nFROM scratch\nCOPY --from=build /bin/sh /sh\n";
/// let dockerfile = dockerfile::parse(text).map_err(|wrong| wrong[0].clone())?;
/// let bases = dockerfile.bases(&[("DEBIAN", "13")].into(), None).map_err(|wrong| wrong[0].clone())?;
/// assert_eq!(bases.len(), 1, "`scratch` and stages are no images");
/// assert_eq!(bases[0].image.to_string(), "docker.io/library/debian:13");
/// assert_eq!(bases[0].position.line, 2);
/// # Ok::<(), dockerfile::Wrong>(())
/// ```
///
/// # Errors
/// All that is wrong; at least one.
pub fn parse(text: &str) -> Result<Dockerfile, Vec<Wrong>> {
    instruction::read(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, target: Option<&str>, expected: &[&str]) {
        let args = [("V", "9"), ("EMPTY", "")].into();
        let seen: Vec<String> = match parse(text).and_then(|file| file.bases(&args, target)) {
            Ok(bases) => bases
                .iter()
                .map(|base| format!("{} {} {}", base.position.line, base.instruction, base.image))
                .collect(),
            Err(wrong) => wrong.iter().map(|wrong| format!("error {wrong}")).collect(),
        };
        assert_eq!(seen, expected, "{text}");
    }

    const BASE: &str = "docker.io/library/base:1";

    #[test]
    fn stages_and_scratch_are_no_images() {
        check("FROM scratch\nCOPY a /", None, &[]);
        check(
            "FROM base:1 AS One\nFROM one\nCOPY --from=0 a b\nCOPY --from=ONE a b\nCOPY --chown=1 --from=o/t:2 a b",
            None,
            &[&format!("1 FROM {BASE}"), "5 COPY --from docker.io/o/t:2"],
        );
        // A stage does not exist before its `FROM`.
        check("FROM b AS b", None, &["1 FROM docker.io/library/b:latest"]);
    }

    #[test]
    fn only_what_the_target_needs_is_used() {
        let text = "FROM a AS one\nFROM b AS two\nFROM one AS three\nFROM c\n";
        let latest = |line: u32, name: &str| format!("{line} FROM docker.io/library/{name}:latest");
        check(text, Some("TWO"), &[&latest(1, "a"), &latest(2, "b")]);
        check(text, Some("1"), &[&latest(1, "a"), &latest(2, "b")]);
        check(
            text,
            Some("no"),
            &["error 1:1: there is no stage `no` to build, only `one`, `two`, `three`"],
        );
        check(
            text,
            None,
            &[&latest(1, "a"), &latest(2, "b"), &latest(4, "c")],
        );
    }

    #[test]
    fn variables_are_those_before_the_first_from() {
        let from = |image: &str| format!("FROM docker.io/library/{image}");
        let cases = [
            ("ARG V=1\nFROM a:$V", "2 ", "a:9"),
            ("ARG N=1\nFROM a:${N}-x", "2 ", "a:1-x"),
            ("ARG N=\"1\" M=$N.2\nFROM a:$M", "2 ", "a:1.2"),
            ("ARG N\nFROM a:${N:-d}", "2 ", "a:d"),
            ("ARG EMPTY=x\nFROM a:${EMPTY:-d}${EMPTY-e}f", "2 ", "a:df"),
            ("ARG N=1\nFROM a:${N:+y}${M:+z}", "2 ", "a:y"),
            ("ARG N=1\nFROM a:${M:-${N}}", "2 ", "a:1"),
            ("FROM 'a:1'", "1 ", "a:1"),
            // Given on the command line, but never declared.
            ("FROM a:x$V", "1 ", "a:x"),
        ];
        for (text, line, expected) in cases {
            check(text, None, &[&format!("{line}{}", from(expected))]);
        }
        check(
            "FROM a\nARG N=1\nFROM b:x$N",
            None,
            &[
                &format!("1 {}", from("a:latest")),
                &format!("3 {}", from("b:x")),
            ],
        );
        check("FROM a:$TARGETARCH", None, &["1 FROM a:$TARGETARCH"]);
        check("ARG N=v1\nFROM a:${N#v}", None, &["2 FROM a:${N#v}"]);
        check(
            "FROM a\nCOPY --from=$X a b",
            None,
            &[&format!("1 {}", from("a:latest")), "2 COPY --from $X"],
        );
    }

    #[test]
    fn lines_are_joined_and_comments_skipped() {
        let expected = [&*format!("3 FROM {BASE}")];
        check("# c\n\nfrom \\\n  # c\n\n base:1\n", None, &expected);
        check(
            "\u{feff}# syntax=docker/dockerfile:1\n# escape=`\nFROM `\n base:1\nRUN a\\\n",
            None,
            &expected,
        );
        check(
            "#\n#\nFROM \\  \r\n base:1\r\nRUN echo \\\nFROM x\n",
            None,
            &expected,
        );
    }

    #[test]
    fn heredocs_are_no_instructions() {
        let text = "FROM base:1\nRUN <<EOF cat\nFROM x\nEOF\nCOPY <<-'A' <<B /x/\nFROM y\n\tA\nFROM z\nB\nCOPY --from=c:1 a b\n";
        check(
            text,
            None,
            &[
                &format!("1 FROM {BASE}"),
                "10 COPY --from docker.io/library/c:1",
            ],
        );
        // No here-documents: arithmetic, strings, other instructions.
        check(
            "FROM base:1\nRUN echo $((1<<2)) \"<<A\"\nLABEL a=<<B\nCOPY --from=c:1 a b",
            None,
            &[
                &format!("1 FROM {BASE}"),
                "4 COPY --from docker.io/library/c:1",
            ],
        );
        check(
            "FROM base:1\nRUN <<EOF\nx\n",
            None,
            &["error 2:1: here-document without its end `EOF`"],
        );
    }

    #[test]
    fn mounts_name_images() {
        check(
            "FROM base:1\nRUN --mount=type=bind,from=m:1,target=/m --mount=type=cache,target=/c --network=none make --mount=from=x",
            None,
            &[
                &format!("1 FROM {BASE}"),
                "2 RUN --mount=from docker.io/library/m:1",
            ],
        );
    }

    #[test]
    fn what_only_buildkit_understands_is_noticed() {
        for (text, expected) in [
            (
                "FROM a\nCOPY --chown=1 --from=b x y\nRUN --x y\nADD x y",
                None,
            ),
            ("FROM --platform=x a\nRUN make --mount=x\nLABEL a=<<B", None),
            ("FROM a\nCOPY --chmod=755 x y", Some(2)),
            (
                "FROM a\nRUN x\nRUN --mount=type=cache,target=/c y\nADD --link x y",
                Some(3),
            ),
            ("FROM a\nRUN <<EOF\nx\nEOF", Some(2)),
        ] {
            assert_eq!(parse(text).unwrap().buildkit, expected, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_at_its_line() {
        check("", None, &["error 1:1: no `FROM`"]);
        check(
            "RUN x\nFROM a",
            None,
            &["error 1:1: `RUN` before the first `FROM`"],
        );
        check(
            "FROM\nFROM a AS\nFROM a b c",
            None,
            &[
                "error 1:1: `FROM` needs an image, and nothing else but `AS NAME`",
                "error 2:1: `FROM` needs an image, and nothing else but `AS NAME`",
                "error 3:1: `FROM` needs an image, and nothing else but `AS NAME`",
            ],
        );
        check(
            "FROM a AS $x",
            None,
            &["error 1:1: `$x` is no name of a stage, expected [a-z][a-z0-9-_.]*"],
        );
        check(
            "ARG B\nFROM $B",
            None,
            &["error 2:1: `$B`: is empty, the build argument `B` has no value"],
        );
        check(
            "ARG B\nFROM ${B:?give-one}",
            None,
            &["error 2:1: `${B:?give-one}`: `B` has no value: give-one"],
        );
        check(
            "FROM a/B",
            None,
            &[
                "error 1:1: `a/B` is no name of an image: expected components of lower-case letters, digits and \
             single separators (`.`, `_`, `__`, `-`), joined by `/`, of at most 255 characters",
            ],
        );
    }

    #[test]
    fn expansion_is_bounded() {
        let mut text = "ARG A0=xxxxxxxxxxxxxxxx\n".to_owned();
        for n in 1..40 {
            text.push_str(&format!("ARG A{n}=$A{0}$A{0}\n", n - 1));
        }
        text.push_str("FROM $A39\n");
        let wrong = parse(&text)
            .and_then(|file| file.bases(&[].into(), None))
            .unwrap_err();
        assert!(wrong[0].message.contains("longer than"), "{wrong:?}");
        let deep = format!("FROM {}a{}", "${A:-".repeat(100_000), "}".repeat(100_000));
        assert!(
            parse(&deep)
                .and_then(|file| file.bases(&[].into(), None))
                .is_err()
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(FROM|ARG|COPY|RUN|--from=|--mount=|from=|<<EOF|EOF| |\n|\\\\|\\$|\\{|\\}|:|-|A|\"|'|#|escape=|`|ä|,){0,40}") {
            if let Ok(file) = parse(&text) {
                drop(file.bases(&[("A", "b")].into(), None));
            }
        }
    }
}
