//! `buildset-registry` as a user and as Zuul's roles run it.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
};

use ocicore::{Class, Cx, Digest, MediaType, Name, Place, RawManifest, Repositories};
use ociregistry::{Credentials, HostOptions, Registry};
use rustix::process::{Pid, Signal, kill_process};

use crate::shown;

const PROGRAM: &str = env!("CARGO_BIN_EXE_buildset-registry");
/// Serves a directory, and anybody may write.
const OPEN: [&str; 6] = [
    "serve",
    "--storage",
    "store",
    "--listen",
    "127.0.0.1:0",
    "--anonymous-write",
];
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
        Self::run(directory, Command::new(PROGRAM).args(args))
    }

    fn run(directory: &Path, command: &mut Command) -> Self {
        let mut child = command
            .env("ZUUL_PASSWORD", "word")
            .env_remove("RUST_LOG")
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
    fs::write(directory.path().join("users"), "dan:{SHA}x\n").unwrap();
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
        (SETTINGS.to_owned(), &["--htpasswd", "users"]),
        (SETTINGS.to_owned(), &["--secret-file", "none"]),
        (SETTINGS.to_owned(), &["--self-signed", "a b"]),
        (SETTINGS.to_owned(), &["--listen", "127.0.0.1"]),
        (SETTINGS.to_owned(), &["--public-url", "host:5000"]),
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
    let settings = SETTINGS
        .replace("word", "'%(ZUUL_PASSWORD)'")
        .replace("port: 0", "port: 0\n  public-url: https://[::1]:5000/");
    fs::write(directory.path().join("registry.yaml"), settings).unwrap();
    let server = Serving::start(directory.path(), &["-c", "registry.yaml", "serve"]);
    let (status, answer) = server.ask("GET /v2/", "", "");
    assert_eq!(status, 401);
    let realm = "realm=\"https://[::1]:5000/auth/token\"";
    assert!(answer.contains(realm), "{answer}");
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
fn it_finishes_what_it_has_begun() {
    let directory = tempfile::tempdir().unwrap();
    let serve = ["serve", "--storage", "store", "--listen", "127.0.0.1:0"];
    let args = [&serve[..], &["--anonymous-write"]].concat();
    let mut server = Serving::start(directory.path(), &args);
    let (_, begun) = server.ask("POST /v2/a/blobs/uploads/", "", "");
    let location = begun
        .lines()
        .find_map(|line| line.strip_prefix("location: "));
    let location = location.unwrap().trim().to_owned();
    let mut wire = TcpStream::connect(&server.address).unwrap();
    let head = format!("PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc");
    wire.write_all(head.as_bytes()).unwrap();
    // It is at work once others find the upload in use.
    while server.ask(&format!("GET {location}"), "", "").0 != 409 {
        std::thread::yield_now();
    }
    kill_process(Pid::from_child(&server.child), Signal::TERM).unwrap();
    while TcpStream::connect(&server.address).is_ok() {
        std::thread::yield_now();
    }
    assert_eq!(server.child.try_wait().unwrap(), None);
    wire.write_all(b"def").unwrap();
    let mut answer = String::new();
    wire.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}

/// All that zuul-registry's own command line can be.
#[test]
fn the_command_line_of_zuul_registry_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    let settings = SETTINGS.replace("3600", "0");
    fs::write(directory.path().join("registry.yaml"), settings).unwrap();
    let log = directory.path().join("log");
    for (args, variable, is_logged) in [
        (&["-c", "registry.yaml"][..], None, false),
        (&["-c", "registry.yaml", "serve"], Some("0"), false),
        (&["-c", "registry.yaml", "serve"], Some("1"), true),
        (&["-d", "-c", "registry.yaml"], None, true),
        (&["-c", "registry.yaml", "-d", "serve"], None, true),
        (&["serve", "-d", "-c", "registry.yaml"], None, true),
        (&["--dry-run", "-c", "registry.yaml", "serve"], None, false),
    ] {
        let mut command = Command::new(PROGRAM);
        command.args(args).stderr(fs::File::create(&log).unwrap());
        if let Some(value) = variable {
            command.env("DEBUG", value);
        }
        let server = Serving::run(directory.path(), &mut command);
        assert_eq!(server.ask("GET /v2/", "", "").0, 401, "{args:?}");
        assert_eq!(server.stop(), Some(0));
        let text = fs::read_to_string(&log).unwrap();
        assert_eq!(
            text.contains("registryd::access"),
            is_logged,
            "{args:?}: {text}"
        );
    }

    // Images of zuul-registry itself are not taken over, which is told.
    fs::create_dir(directory.path().join("store/_local")).unwrap();
    let mut write = Command::new(PROGRAM);
    write.args(["-c", "registry.yaml", "serve", "--anonymous-write"]);
    write.stderr(fs::File::create(&log).unwrap());
    let server = Serving::run(directory.path(), &mut write);
    let told = fs::read_to_string(&log).unwrap();
    assert!(
        told.contains("`store` holds images of zuul-registry"),
        "{told}"
    );
    assert_eq!(push_index(&server, "v1"), 201);
    let mut text = String::new();
    for args in [
        &["--dry-run", "-c", "registry.yaml", "prune"][..],
        &["-c", "registry.yaml", "prune", "--dry-run"],
        &["prune", "--dry-run", "-c", "registry.yaml", "-d"],
        &["-c", "registry.yaml", "prune"],
        &["-c", "registry.yaml", "prune"],
        &[
            "--dry-run",
            "-c",
            "registry.yaml",
            "serve",
            "--prune-every",
            "9",
        ],
        &["-c", "registry.yaml", "sreve"],
    ] {
        let is_there = server.ask("GET /v2/a/manifests/v1", "", "").0 == 200;
        text += &format!(
            "{}\n",
            if is_there {
                "v1 is there"
            } else {
                "v1 is gone"
            }
        );
        text += &shown(PROGRAM, args, directory.path());
    }
    insta::assert_snapshot!(text);
}

#[test]
fn it_keeps_the_last_tags() {
    let directory = tempfile::tempdir().unwrap();
    let server = Serving::start(directory.path(), &OPEN);
    for tag in ["change_1", "change_2", "v1", "change_3"] {
        assert_eq!(push_index(&server, tag), 201);
    }
    let prune = [
        "--storage",
        "store",
        "prune",
        "--expiration",
        "0",
        "--tags",
        "change_*",
    ];
    let prune = [&prune[..], &["--keep", "1", "--json"]].concat();
    let text = shown(PROGRAM, &prune, directory.path());
    assert!(text.contains("\"tags\": 2"), "{text}");
    let (_, tags) = server.ask("GET /v2/a/tags/list", "", "");
    assert!(
        tags.ends_with(r#"{"name":"a","tags":["change_3","v1"]}"#),
        "{tags}"
    );
}

/// An image of two layers of which one is missing.
#[test]
fn it_refuses_images_in_part_when_told_so() {
    let directory = tempfile::tempdir().unwrap();
    for (complete, status) in [(&[][..], 201), (&["--complete"], 400)] {
        let server = Serving::start(directory.path(), &[&OPEN[..], complete].concat());
        let descriptor = |content: &str| {
            let (digest, size) = (Digest::of(content.as_bytes()), content.len());
            format!(r#"{{"mediaType":"x/y","digest":"{digest}","size":{size}}}"#)
        };
        for content in ["config", "layer"] {
            let digest = Digest::of(content.as_bytes());
            let post = format!("POST /v2/a/blobs/uploads/?digest={digest}");
            assert_eq!(server.ask(&post, "", content).0, 201);
        }
        let manifest = format!(
            r#"{{"schemaVersion":2,"config":{},"layers":[{},{}]}}"#,
            descriptor("config"),
            descriptor("layer"),
            descriptor("missing")
        );
        let kind = "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n";
        let (found, answer) = server.ask("PUT /v2/a/manifests/v1", kind, &manifest);
        assert_eq!(found, status, "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_serves_named_users_by_tls() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    // `htpasswd -bnBC 4 dan secret`, and for `eve` the same password.
    let hash = "$2y$04$xn2NuMNOnun4NfC2qu9IwugP7eZDZYuvaDpkCnTpV3rrWY6TbisN6";
    file("writers", &format!("dan:{hash}\n"));
    file("readers", &format!("eve:{hash}\n"));
    file("secret", "some text\n");
    let serve = ["serve", "--storage", "store", "--listen", "127.0.0.1:0"];
    let users = ["--htpasswd", "writers", "--htpasswd-read", "readers"];
    let more = [
        "--secret-file",
        "secret",
        "--self-signed",
        "127.0.0.1",
        "--certificate-out",
        "ca",
    ];
    let server = Serving::start(directory.path(), &[&serve[..], &users, &more].concat());
    let authority = fs::read(directory.path().join("ca")).unwrap();
    let client = |user: Option<&str>| {
        let options = HostOptions::default().with_ca_pem(authority.clone());
        let mut client = Registry::builder().host(&server.address, options);
        if let Some(user) = user {
            client = client.credentials(&server.address, Credentials::basic(user, "secret"));
        }
        let name = format!("{}/a", server.address).parse().unwrap();
        client.build().repository(&name).unwrap()
    };
    let (cx, tag) = (Cx::default(), Name::Tag("v1".parse().unwrap()));
    let index = RawManifest::new(
        MediaType::OCI_INDEX,
        r#"{"schemaVersion":2,"manifests":[]}"#.as_bytes().to_vec(),
    );
    let push = async |user: Option<&str>| {
        let tags = ["v1".parse().unwrap()];
        let client = client(user);
        client.put_manifest(&cx, &index, Place::Root(&tags)).await
    };
    for user in [None, Some("eve"), Some("nobody")] {
        assert_eq!(
            push(user).await.unwrap_err().class(),
            Class::Denied,
            "{user:?}"
        );
    }
    push(Some("dan")).await.unwrap();
    for (user, may) in [(None, false), (Some("nobody"), false), (Some("eve"), true)] {
        let found = client(user).manifest(&cx, &tag).await;
        assert_eq!(found.is_ok(), may, "{user:?}");
    }
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn it_prunes_while_it_serves() {
    let directory = tempfile::tempdir().unwrap();
    let server = Serving::start(directory.path(), &OPEN);
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
    let server = Serving::start(directory.path(), &[&OPEN[..], &every].concat());
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
