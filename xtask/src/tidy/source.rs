//! Rules for Rust source files.

use super::{Fault, File};

/// No file is longer.
const MAX_LINES: usize = 800;

/// What stands for code that is yet to be written; spelled apart, as this file is checked, too.
const UNFINISHED: &[&str] = &[concat!("to", "do!("), concat!("unimple", "mented!(")];
const PRINTS: &[&str] = &["println!(", "print!(", "eprintln!(", "eprint!(", "dbg!("];
const LISTENS: &[&str] = &["bind(", "listen(", "serve("];
const OPEN_ADDRESSES: &[&str] = &["0.0.0.0", "localhost", "UNSPECIFIED"];

pub(super) fn check(file: &File) -> Vec<Fault> {
    let mut faults = Vec::new();
    let length = file.text.lines().count();
    if length > MAX_LINES {
        faults.push(Fault::new(
            file,
            MAX_LINES + 1,
            format!("{length} lines, {MAX_LINES} at most"),
        ));
    }
    let library = file.path.starts_with("crates/")
        && file.path.contains("/src/")
        && !file.path.contains("/src/bin/")
        && !file.path.ends_with("/src/main.rs");
    let mut test_code = file.path.contains("/tests/") || file.path.starts_with("tests/");
    let mut expects_prints = false;
    for (index, line) in file.text.lines().enumerate() {
        test_code |= line.trim() == "#[cfg(test)]";
        let code = code_of(line);
        let squeezed: String = code.chars().filter(|c| !c.is_whitespace()).collect();
        let mut fault = |message: String| faults.push(Fault::new(file, index + 1, message));
        // A deliberate exception, with its reason, is for the reviewer to judge.
        expects_prints |= squeezed.contains("clippy::print_std");
        for word in UNFINISHED.iter().filter(|word| has_call(&code, word)) {
            fault(format!("`{word})` in a finished program"));
        }
        if squeezed.contains(concat!("#[ig", "nore")) {
            fault("a test that does not run".to_owned());
        }
        if library && !test_code {
            for word in PRINTS
                .iter()
                .filter(|word| has_call(&code, word) && !expects_prints)
            {
                fault(format!("a library prints: `{word}…)`"));
            }
            if squeezed.contains("allow(missing_docs") || squeezed.contains("expect(missing_docs") {
                fault("documentation is missing on purpose".to_owned());
            }
        }
        // Here the text of strings counts.
        let open = OPEN_ADDRESSES
            .iter()
            .find(|address| line.contains(*address));
        if let Some(address) = open
            && test_code
            && LISTENS.iter().any(|call| has_call(&code, call))
        {
            fault(format!("a test listens on `{address}`, not on 127.0.0.1"));
        }
    }
    faults
}

/// Whether a line calls a function or macro of exactly this name.
fn has_call(code: &str, call: &str) -> bool {
    code.match_indices(call).any(|(at, _)| {
        !code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_')
    })
}

/// A line without the text of its strings and without its comment.
fn code_of(line: &str) -> String {
    let mut code = String::new();
    let mut chars = line.chars().peekable();
    let mut in_string = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' if in_string => {
                chars.next();
            }
            '"' => {
                in_string = !in_string;
                code.push(c);
            }
            '/' if !in_string && chars.peek() == Some(&'/') => break,
            '\'' if !in_string && chars.peek() == Some(&'"') => {
                // The character literal of a quotation mark opens no string.
                chars.next();
            }
            _ if in_string => {}
            _ => code.push(c),
        }
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(path: &str, text: &str) -> Vec<String> {
        let file = File {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        check(&file)
            .into_iter()
            .map(|fault| fault.message)
            .collect()
    }

    #[test]
    fn long_files() {
        assert!(messages("crates/x/src/a.rs", &"\n".repeat(800)).is_empty());
        let long = messages("crates/x/src/a.rs", &"\n".repeat(801));
        assert_eq!(long, ["801 lines, 800 at most"]);
    }

    #[test]
    fn libraries_do_not_print() {
        let cases = [
            ("crates/x/src/a.rs", "println!(\"x\");", 1),
            ("crates/x/src/a.rs", "dbg!(1);", 1),
            ("crates/x/src/a.rs", "/// println!(\"x\");", 0),
            ("crates/x/src/a.rs", "let a = \"println!(\";", 0),
            ("crates/x/src/a.rs", "my_println!(1);", 0),
            ("crates/x/src/a.rs", "let q = '\"'; println!(\"x\");", 1),
            (
                "crates/x/src/a.rs",
                "#[cfg(test)]\nmod tests {\n    println!(\"x\");",
                0,
            ),
            (
                "crates/x/src/a.rs",
                "#[expect(clippy::print_stderr, reason = \"y\")]\neprint!();",
                0,
            ),
            ("crates/x/tests/it/main.rs", "println!(\"x\");", 0),
            ("crates/x/src/bin/a.rs", "println!(\"x\");", 0),
            ("examples/src/a.rs", "println!(\"x\");", 0),
        ];
        for (path, text, expected) in cases {
            assert_eq!(messages(path, text).len(), expected, "{path}: {text}");
        }
    }

    #[test]
    fn tests_listen_on_the_loopback_address() {
        let cases = [
            (
                "crates/x/tests/it/a.rs",
                "TcpListener::bind(\"0.0.0.0:0\")",
                1,
            ),
            ("crates/x/tests/it/a.rs", "Server::bind(\"localhost:0\")", 1),
            (
                "crates/x/tests/it/a.rs",
                "TcpListener::bind(\"127.0.0.1:0\")",
                0,
            ),
            ("crates/x/tests/it/a.rs", "parse(\"localhost:5000/x\")", 0),
            ("crates/x/src/a.rs", "TcpListener::bind(\"0.0.0.0:0\")", 0),
            (
                "crates/x/src/a.rs",
                "#[cfg(test)]\nmod t {\nbind(\"0.0.0.0:0\")",
                1,
            ),
        ];
        for (path, text, expected) in cases {
            assert_eq!(messages(path, text).len(), expected, "{path}: {text}");
        }
    }

    #[test]
    fn nothing_is_left_for_later() {
        let cases = [
            (concat!("to", "do!()"), 1),
            (concat!("unimple", "mented!(\"later\")"), 1),
            (concat!("#[ig", "nore = \"slow\"]"), 1),
            (concat!("// to", "do!()"), 0),
            ("#![allow(missing_docs)]", 1),
            ("#![warn(missing_docs)]", 0),
        ];
        for (text, expected) in cases {
            assert_eq!(
                messages("crates/x/src/lib.rs", text).len(),
                expected,
                "{text}"
            );
        }
    }
}
