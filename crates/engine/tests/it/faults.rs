//! What an engine can do wrong that a real one does not do on demand: a server that answers as it is
//! told, and a proxy that breaks connections with a real one.

use std::{
    fs,
    io::{Read, Write},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use engine::{
    ContainerEngine, Docker, Error, Owner, TransferOptions,
    docker::Endpoint,
    log::{Event, Log},
    spec::BuildSpec,
};
use futures_util::StreamExt;
use ocicore::{Class, Cx, conformance::peer::peer};
use tempfile::TempDir;

use crate::bench::{blob, tar};

const VERSION: &str = r#"{"Version":"20.10.24","ApiVersion":"1.41","Os":"linux","Arch":"amd64"}"#;

fn json(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A stream that ends regularly.
fn chunked(body: &str) -> String {
    format!("{}0\r\n\r\n", cut(body))
}

/// A stream that breaks off.
fn cut(body: &str) -> String {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    if body.is_empty() {
        return head.to_owned();
    }
    format!("{head}{:x}\r\n{body}\r\n", body.len())
}

/// An engine that says its version, and to everything else gives one answer and hangs up.
struct Script {
    dir: TempDir,
}

impl Script {
    fn new(version: &str, answer: String) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("engine.sock")).unwrap();
        let version = json(version);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, version, answer) =
                    (stream.unwrap(), version.clone(), answer.clone());
                thread::spawn(move || {
                    let mut request = Vec::new();
                    let mut byte = [0];
                    while !request.ends_with(b"\r\n\r\n")
                        && stream.read(&mut byte).unwrap_or(0) == 1
                    {
                        request.push(byte[0]);
                    }
                    let about = request.starts_with(b"GET /version ");
                    let answer = if about { version } else { answer };
                    // The client may have gone.
                    let _ = stream.write_all(answer.as_bytes());
                });
            }
        });
        Self { dir }
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::Unix(self.dir.path().join("engine.sock"))
    }
}

async fn connect(endpoint: &Endpoint) -> engine::Result<Docker> {
    Docker::connect(&Cx::default(), endpoint, Owner::new("faults").unwrap()).await
}

fn spec() -> BuildSpec {
    let context = tar(&[("Dockerfile", "FROM x\n".to_owned())]);
    BuildSpec::new(blob(context)).tag("a/b:1".parse().unwrap())
}

/// The error of a build that gets this answer.
async fn build(answer: String) -> Error {
    let script = Script::new(VERSION, answer);
    let engine = connect(&script.endpoint()).await.unwrap();
    let built = engine.build(&Cx::default(), &spec(), &Log::discard()).await;
    built.unwrap_err()
}

fn shown(error: &Error) -> String {
    let hint = error.hint().unwrap_or("no hint");
    format!(
        "{:?}: {error}\n  tail: {:?}\n  {hint}",
        error.class(),
        error.tail()
    )
}

#[tokio::test]
async fn a_build_is_a_success_only_if_it_says_so() {
    let begun = "{\"stream\":\"Step 1/1 : FROM x\\n\"}\n{\"stream\":\"hello\\n\"}\n";
    let cases = [
        ("cut off", cut(begun)),
        ("cut off at once", cut("")),
        ("no answer", String::new()),
        ("ends regularly without a result", chunked(begun)),
        ("ends in an object", chunked("{\"stream\":\"x")),
        (
            "error as Podman has it",
            chunked(&format!("{begun}{{\"error\":\"it broke\"}}\n")),
        ),
        (
            "error after the result",
            chunked(
                "{\"aux\":{\"ID\":\"sha256:04c8c647e492947ca53f1cb3adf67f725ac2a86e973541f1b33c329d8ddefd04\"}}\n{\"error\":\"cannot tag\"}\n",
            ),
        ),
        ("no JSON", chunked("<html>busy</html>\n")),
        (
            "an id that is none",
            chunked("{\"aux\":{\"ID\":\"nonsense\"}}\n"),
        ),
        (
            "disk full",
            chunked("{\"error\":\"write /x: no space left on device\"}\n"),
        ),
        (
            "refused",
            "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy".to_owned(),
        ),
    ];
    let mut all = String::new();
    for (name, answer) in cases {
        let error = build(answer).await;
        all += &format!("{name}: {}\n", shown(&error));
    }
    insta::assert_snapshot!(all);
}

#[tokio::test]
async fn an_endless_object_does_not_take_all_memory() {
    let answer = chunked(&"x".repeat(17 << 20));
    let error = build(answer).await;
    assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
}

#[tokio::test]
async fn pulls_and_pushes_that_break_off_are_none() {
    let some = "{\"status\":\"Pulling\",\"id\":\"1\"}\n";
    for (answer, class) in [
        (cut(some), Class::Transient),
        (chunked("{\"error\":\"unauthorized: no\"}\n"), Class::Denied),
        (
            chunked("{\"errorDetail\":{\"message\":\"no space left on device\"}}\n"),
            Class::Exhausted,
        ),
    ] {
        let script = Script::new(VERSION, answer);
        let engine = connect(&script.endpoint()).await.unwrap();
        let (cx, options) = (Cx::default(), TransferOptions::default());
        let image = "127.0.0.1:1/x:1".parse().unwrap();
        let log = Log::discard();
        let error = engine.push(&cx, &image, &options, &log).await.unwrap_err();
        assert_eq!(error.class(), class, "{error:?}");
        let error = engine.pull(&cx, &image, &options, &log).await.unwrap_err();
        assert_eq!(error.class(), class, "{error:?}");
    }
}

#[tokio::test]
async fn an_engine_that_cannot_be_used_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| Endpoint::Unix(dir.path().join(name));
    let mut all = String::new();
    let mut check = |error: Error| {
        let text = shown(&error).replace(&dir.path().display().to_string(), "DIR");
        all += &format!("{text}\n");
    };
    check(connect(&at("none.sock")).await.unwrap_err());
    drop(UnixListener::bind(dir.path().join("dead.sock")).unwrap());
    check(connect(&at("dead.sock")).await.unwrap_err());
    let old = Script::new(
        r#"{"Version":"1.13","ApiVersion":"1.24","Os":"linux","Arch":"amd64"}"#,
        String::new(),
    );
    let error = connect(&old.endpoint()).await.unwrap_err();
    assert_eq!(error.class(), Class::Unsupported);
    let text = old.endpoint().to_string();
    check(match error {
        Error::ApiTooOld {
            version, needed, ..
        } => Error::ApiTooOld {
            endpoint: text.replace(&old.dir.path().display().to_string(), "DIR"),
            version,
            needed,
        },
        other => other,
    });
    check(Endpoint::parse("ssh://host", None, "DOCKER_HOST").unwrap_err());
    insta::assert_snapshot!(all);
}

/// Root may open every socket, so this is asked of a user that may not.
#[test]
fn a_socket_of_somebody_else_is_told() {
    const PATH: &str = "GANTRY_TEST_DENIED_SOCKET";
    if let Some(path) = std::env::var_os(PATH) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let endpoint = Endpoint::Unix(PathBuf::from(path));
        let error = runtime.block_on(connect(&endpoint)).unwrap_err();
        assert!(matches!(error, Error::SocketDenied { .. }), "{error:?}");
        assert_eq!(error.class(), Class::Denied);
        assert!(error.hint().is_some());
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = dir.path().join("private.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let program = dir.path().join("it");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = std::process::Command::new(&program);
    command
        .args(["--exact", "faults::a_socket_of_somebody_else_is_told"])
        .env(PATH, &path)
        .current_dir(dir.path());
    if is_root() {
        std::os::unix::process::CommandExt::uid(&mut command, 65534);
    } else {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{output:?}"
    );
}

fn is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").unwrap()) == 0
}

/// A proxy before a real engine, which can be told to break all connections.
struct Proxy {
    dir: TempDir,
    down: Arc<AtomicBool>,
}

impl Proxy {
    fn new(engine: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("engine.sock")).unwrap();
        let down = Arc::new(AtomicBool::new(false));
        let (engine, flag) = (engine.to_owned(), Arc::clone(&down));
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, engine) = (client.unwrap(), UnixStream::connect(&engine).unwrap());
                for (from, to) in [
                    (client.try_clone().unwrap(), engine.try_clone().unwrap()),
                    (engine, client),
                ] {
                    let flag = Arc::clone(&flag);
                    thread::spawn(move || relay(from, to, &flag));
                }
            }
        });
        Self { dir, down }
    }
}

fn relay(mut from: UnixStream, mut to: UnixStream, down: &AtomicBool) {
    from.set_read_timeout(Some(Duration::from_millis(10)))
        .unwrap();
    let mut buffer = [0; 64 << 10];
    while !down.load(Ordering::Relaxed) {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                if to.write_all(&buffer[..n]).is_err() {
                    break;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
    let _ = from.shutdown(std::net::Shutdown::Both);
}

async fn vanishes(host: &str) {
    let (Some(host), Some(base)) = (peer(host), peer("BUSYBOX_IMAGE")) else {
        return;
    };
    let proxy = Proxy::new(Path::new(host.strip_prefix("unix://").unwrap()));
    let endpoint = Endpoint::Unix(proxy.dir.path().join("engine.sock"));
    let engine = connect(&endpoint).await.unwrap();
    let text = format!("FROM {base}\nRUN echo ready && sleep 20\n");
    let spec = BuildSpec::new(blob(tar(&[("Dockerfile", text)])));
    let spec = spec.cache(engine::spec::Cache::Ignore);
    let (log, events) = Log::channel(1);
    let building = tokio::spawn(async move { engine.build(&Cx::default(), &spec, &log).await });
    let mut events = events;
    while events.next().await != Some(Event::Stdout("ready\n".to_owned())) {}
    proxy.down.store(true, Ordering::Relaxed);
    let error = building.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Vanished { .. }), "{error:?}");
    assert_eq!(error.class(), Class::Transient);
    assert_eq!(error.tail().last().map(String::as_str), Some("ready"));
    assert!(error.hint().is_some());
}

#[tokio::test]
async fn docker_that_goes_away_in_a_build_is_told() {
    vanishes("DOCKER_HOST").await;
}

#[tokio::test]
async fn podman_that_goes_away_in_a_build_is_told() {
    vanishes("PODMAN_HOST").await;
}
