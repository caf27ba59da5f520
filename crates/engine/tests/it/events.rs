//! What an engine tells of events, where a real one does not do it on demand.

use std::{
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    sync::{Arc, Mutex},
    thread,
};

use engine::{ContainerEngine, Docker, Owner, docker::Endpoint};
use futures_util::StreamExt;
use ocicore::{Class, Cx};
use tempfile::TempDir;

const VERSION: &str = r#"{"Version":"4.3.1","ApiVersion":"1.41","Os":"linux","Arch":"amd64"}"#;
const INFO: &str = r#"{"SystemTime":"1970-01-01T00:16:40.000000005Z"}"#;

/// An engine that gives these events, one answer after the other, and then none.
struct Script {
    dir: TempDir,
    /// Targets of the requests for events.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Script {
    fn new(answers: &[&[&str]]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("engine.sock")).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let mut answers: Vec<String> = answers.iter().map(|events| events.join("\n")).collect();
        answers.reverse();
        let seen = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let target = target(&mut stream);
                let body = match &*target {
                    "/version" => VERSION.to_owned(),
                    "/v1.41/info" => INFO.to_owned(),
                    _ => {
                        seen.lock().unwrap().push(target);
                        answers.pop().unwrap_or_default()
                    }
                };
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                // The client may have gone.
                let _ = stream.write_all((head + &body).as_bytes());
            }
        });
        Self { dir, asked }
    }

    async fn connect(&self) -> Docker {
        let endpoint = Endpoint::Unix(self.dir.path().join("engine.sock"));
        let owner = Owner::new("events").unwrap();
        Docker::connect(&Cx::default(), &endpoint, owner)
            .await
            .unwrap()
    }
}

fn target(stream: &mut UnixStream) -> String {
    let (mut request, mut byte) = (Vec::new(), [0]);
    while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        request.push(byte[0]);
    }
    let request = String::from_utf8(request).unwrap();
    request.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn an_answer_that_ends_goes_on_where_it_ended() {
    let event = |action: &str, time: u64| {
        format!(
            r#"{{"Type":"container","Action":"{action}","Actor":{{"ID":"x"}},"timeNano":{time}}}"#
        )
    };
    let old = event("old", 1_000_000_000_005);
    let (first, second) = (
        event("first", 1_000_000_000_007),
        event("second", 1_000_000_000_009),
    );
    let script = Script::new(&[&[&old, &first], &[], &[&first, &second]]);
    let engine = script.connect().await;
    let events = engine.events(&Cx::default(), &[]).await.unwrap();
    let mut told = Vec::new();
    // In the end it has nothing more to say.
    let mut events = events;
    let error = loop {
        match events.next().await.unwrap() {
            Ok(event) => told.push(event.action),
            Err(error) => break error,
        }
    };
    assert_eq!(told, ["first", "second"]);
    assert_eq!(error.class(), Class::Transient);
    assert!(events.next().await.is_none());
    let asked = script.asked.lock().unwrap();
    let since: Vec<&str> = asked
        .iter()
        .map(|target| target.rsplit('=').next().unwrap())
        .collect();
    let expected = [
        "1000.000000005",
        "1000.000000007",
        "1000.000000007",
        "1000.000000009",
    ];
    assert_eq!(since[..4], expected);
}
