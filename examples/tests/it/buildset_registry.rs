//! `buildset-registry` as a user and as Zuul's roles run it.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::shown;

const PROGRAM: &str = env!("CARGO_BIN_EXE_buildset-registry");
const SETTINGS: &str = "
registry:
  address: 127.0.0.1
  port: 0
  secret: a-secret-of-some-length-for-tokens
  users:
    - {name: zuul, pass: word, access: write}
  storage: {driver: filesystem, root: store, expiration: 3600}
";

/// A server that runs in `directory`.
struct Serving {
    child: Child,
    address: String,
}

impl Serving {
    fn start(directory: &Path, args: &[&str]) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(args)
            .env("ZUUL_PASSWORD", "word")
            .current_dir(directory)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap();
        Self {
            address: address.to_owned(),
            child,
        }
    }

    /// Status and text of the answer.
    fn ask(&self, request: &str, headers: &str, body: &str) -> (u16, String) {
        let mut wire = TcpStream::connect(&self.address).unwrap();
        let len = body.len();
        let request = format!(
            "{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len}\r\n{headers}\r\n{body}"
        );
        wire.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        wire.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer)
    }

    /// SIGTERM; the exit code.
    fn stop(mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // After `stop` there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An index that names nothing, tagged.
fn push_index(server: &Serving, tag: &str) -> u16 {
    let body = format!(r#"{{"schemaVersion":2,"manifests":[],"annotations":{{"a":"{tag}"}}}}"#);
    let kind = "Content-Type: application/vnd.oci.image.index.v1+json\r\n";
    server
        .ask(&format!("PUT /v2/a/manifests/{tag}"), kind, &body)
        .0
}

#[test]
fn help() {
    let directory = tempfile::tempdir().unwrap();
    let mut text = String::new();
    for args in [&["--help"][..], &["serve", "--help"], &["prune", "--help"]] {
        text += &shown(PROGRAM, args, directory.path());
        text.push('\n');
    }
    insta::assert_snapshot!(text);
}

#[test]
fn settings_are_checked() {
    let directory = tempfile::tempdir().unwrap();
    let mut text = String::new();
    for (settings, args) in [
        (SETTINGS.to_owned(), &[][..]),
        (SETTINGS.replace("filesystem", "swift"), &[]),
        (SETTINGS.replace("word", "'%(ZUUL_IS_NOT_SET)'"), &[]),
        (
            SETTINGS.to_owned(),
            &["--tls-cert", "none.pem", "--tls-key", "none.pem"],
        ),
        (SETTINGS.to_owned(), &["--upstream", "Quay.io"]),
        (SETTINGS.to_owned(), &["--prune-every", "0"]),
    ] {
        fs::write(directory.path().join("registry.yaml"), settings).unwrap();
        let mut all = vec!["-c", "registry.yaml", "serve", "--check"];
        all.extend(args);
        text += &shown(PROGRAM, &all, directory.path());
    }
    text += &shown(PROGRAM, &["serve", "--check"], directory.path());
    // Neither makes a directory: its name may be a mistake.
    for args in [
        ["serve", "--check", "--storage", "none"],
        ["prune", "--dry-run", "--storage", "none"],
    ] {
        text += &shown(PROGRAM, &args, directory.path());
        assert!(!directory.path().join("none").exists());
    }
    insta::assert_snapshot!(text);
}

#[test]
fn it_serves_as_zuul_configures_it() {
    let directory = tempfile::tempdir().unwrap();
    let settings = SETTINGS.replace("word", "'%(ZUUL_PASSWORD)'");
    fs::write(directory.path().join("registry.yaml"), settings).unwrap();
    let server = Serving::start(directory.path(), &["-c", "registry.yaml", "serve"]);
    let (status, answer) = server.ask("GET /v2/", "", "");
    assert_eq!(status, 401);
    assert!(answer.contains("/auth/token\""), "{answer}");
    // Whoever, with the credentials of another registry, may pull.
    let (status, answer) = server.ask(
        "GET /auth/token?scope=repository:a:pull",
        "Authorization: Basic aHViOmh1Yg==\r\n",
        "",
    );
    assert_eq!(status, 200, "{answer}");
    let (status, _) = server.ask("GET /auth/token", "Authorization: Basic enV1bDp4\r\n", "");
    assert_eq!(status, 401);
    let (status, _) = server.ask(
        "GET /auth/token",
        "Authorization: Basic enV1bDp3b3Jk\r\n",
        "",
    );
    assert_eq!(status, 200);
    assert_eq!(push_index(&server, "v1"), 401);
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn it_prunes_while_it_serves() {
    let directory = tempfile::tempdir().unwrap();
    let serve = [
        "serve",
        "--storage",
        "store",
        "--listen",
        "127.0.0.1:0",
        "--anonymous-write",
    ];
    let server = Serving::start(directory.path(), &serve);
    assert_eq!(push_index(&server, "change_1"), 201);
    assert_eq!(push_index(&server, "v1"), 201);
    assert_eq!(server.stop(), Some(0));
    let prune = [
        "--storage",
        "store",
        "prune",
        "--expiration",
        "0",
        "--tags",
        "change_*",
    ];
    let dry = [&prune[..], &["--dry-run"]].concat();
    let text = shown(PROGRAM, &dry, directory.path());
    insta::assert_snapshot!(text);

    let every = [
        "--prune-every",
        "1",
        "--expiration",
        "0",
        "--tags",
        "change_*",
    ];
    let server = Serving::start(directory.path(), &[&serve[..], &every].concat());
    while server.ask("GET /v2/a/manifests/change_1", "", "").0 == 200 {
        std::thread::yield_now();
    }
    assert_eq!(server.ask("GET /v2/a/manifests/v1", "", "").0, 200);
}

#[test]
fn it_pulls_through_by_host_and_port() {
    let directory = tempfile::tempdir().unwrap();
    let serve = |storage, more: &[&str]| {
        let serve = ["serve", "--storage", storage, "--listen", "127.0.0.1:0"];
        let args = [&serve[..], more].concat();
        Serving::start(directory.path(), &args)
    };
    let behind = serve("behind", &["--anonymous-write"]);
    assert_eq!(push_index(&behind, "v1"), 201);
    let front = serve("front", &["--ephemeral", "--upstream", &behind.address]);
    let (_, expected) = behind.ask("GET /v2/a/manifests/v1", "", "");
    let expected = expected.split_once("\r\n\r\n").unwrap().1;
    let prefix = behind.address.replace(':', "_");
    for path in [
        format!("{prefix}/a/manifests/v1"),
        format!("a/manifests/v1?ns={}", behind.address),
    ] {
        let (status, answer) = front.ask(&format!("GET /v2/{path}"), "", "");
        assert_eq!(status, 200, "{path}: {answer}");
        assert!(answer.ends_with(expected), "{path}: {answer}");
    }
}
