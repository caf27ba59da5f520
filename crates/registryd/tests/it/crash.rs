//! Two server processes on one directory, killed again and again under load: what was acknowledged
//! is there, and nothing is there in part.

use std::{
    env,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::Duration,
};

use futures_util::future;
use ocicore::{Digest, MediaType};
use registryd::{
    Server,
    storage::{Durability, FsStorage},
};
use reqwest::Client;
use serde_json::json;
use tokio::sync::watch;

use crate::client::descriptor;

const DIRECTORY: &str = "REGISTRYD_TEST_DIRECTORY";
const KILLS: u32 = 200;

/// The other process: does nothing when it is run as one of the tests.
#[tokio::test(flavor = "multi_thread")]
async fn server_process() {
    let Some(directory) = env::var_os(DIRECTORY) else {
        return;
    };
    let storage = FsStorage::with_durability(directory, Durability::ProcessCrash).unwrap();
    let server = Server::builder(storage).bind("127.0.0.1:0").await.unwrap();
    println!("\nlistening {}", server.addr());
    future::pending::<()>().await;
}

/// Killed when dropped.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    fn start(directory: &tempfile::TempDir) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["crash::server_process", "--exact", "--nocapture"])
            .env(DIRECTORY, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("listening ")?.parse().ok())
            .expect("the server says where it listens");
        Self { child, address }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL.
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// What a client sent, and whether the server said that it has it.
#[derive(Clone, Debug)]
struct Push {
    tag: String,
    layer: Vec<u8>,
    manifest: String,
    acknowledged: bool,
}

fn push(round: u32, client: usize, number: usize) -> Push {
    let text = format!("{round}-{client}-{number}");
    // Some contents are sent by all clients at the same time.
    let layer = match number % 3 {
        0 => vec![b'x'; 300_000 + number],
        _ => text.clone().into_bytes(),
    };
    let manifest = json!({
        "schemaVersion": 2,
        "config": descriptor(MediaType::OCI_CONFIG, b"{}"),
        "layers": [descriptor(MediaType::OCI_LAYER, &layer)],
        "annotations": { "push": text },
    });
    Push {
        tag: text,
        layer,
        manifest: manifest.to_string(),
        acknowledged: false,
    }
}

/// Pushes until the server is gone.
async fn client(
    http: &Client,
    address: SocketAddr,
    name: (u32, usize),
    log: &Mutex<Vec<Push>>,
    count: &watch::Sender<usize>,
) {
    for number in 0.. {
        let mut push = push(name.0, name.1, number);
        let sent = send(http, address, &push).await;
        push.acknowledged = sent.is_ok();
        log.lock().unwrap().push(push);
        if sent.is_ok() {
            count.send_modify(|n| *n += 1);
        }
        if sent.is_err() {
            return;
        }
    }
}

async fn send(http: &Client, address: SocketAddr, push: &Push) -> reqwest::Result<()> {
    let base = format!("http://{address}/v2/a");
    for content in [b"{}".as_slice(), &push.layer] {
        let digest = Digest::of(content);
        let begun = http.post(format!("{base}/blobs/uploads/")).send().await?;
        let location = begun.error_for_status()?.headers()["location"].clone();
        let location = format!("http://{address}{}", location.to_str().unwrap());
        let (first, rest) = content.split_at(content.len() / 2);
        let patch = http.patch(&location).body(first.to_vec()).send().await?;
        patch.error_for_status()?;
        let put = http
            .put(format!("{location}?digest={digest}"))
            .body(rest.to_vec());
        put.send().await?.error_for_status()?;
    }
    let put = http
        .put(format!("{base}/manifests/{}", push.tag))
        .header("content-type", MediaType::OCI_MANIFEST.as_str())
        .body(push.manifest.clone());
    put.send().await?.error_for_status()?;
    Ok(())
}

async fn verify(http: &Client, address: SocketAddr, push: &Push) {
    let base = format!("http://{address}/v2/a");
    let check = async |path: String, expected: &[u8]| {
        let found = http.get(format!("{base}/{path}")).send().await.unwrap();
        match found.status().as_u16() {
            200 => assert_eq!(found.bytes().await.unwrap(), expected, "{path}"),
            404 => assert!(!push.acknowledged, "{path} is lost"),
            other => panic!("{path}: {other}"),
        }
    };
    check(format!("manifests/{}", push.tag), push.manifest.as_bytes()).await;
    let digest = Digest::of(push.manifest.as_bytes());
    check(format!("manifests/{digest}"), push.manifest.as_bytes()).await;
    for content in [b"{}".as_slice(), &push.layer] {
        check(format!("blobs/{}", Digest::of(content)), content).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let http = Client::builder().no_proxy().build().unwrap();
    let mut all: Vec<Push> = Vec::new();
    let mut random = 1_u32;
    for round in 0..KILLS / 2 {
        let servers = [Process::start(&directory), Process::start(&directory)];
        let addresses = [servers[0].address, servers[1].address];
        // What was there at the last kill.
        let last = all.len().saturating_sub(20);
        future::join_all(
            all[last..]
                .iter()
                .map(|push| verify(&http, addresses[1], push)),
        )
        .await;

        let log = Mutex::new(Vec::new());
        let count = watch::Sender::new(0);
        let clients = (0..4).map(|n| client(&http, addresses[n % 2], (round, n), &log, &count));
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let moment = Duration::from_micros(u64::from(random >> 16) % 40_000);
        // At times before anything was acknowledged, at times after some.
        let wanted = (random >> 8) as usize % 4;
        let mut acknowledged = count.subscribe();
        let killer = async {
            // Clients that gave up acknowledge no more; then the moment alone decides.
            let enough = acknowledged.wait_for(|n| *n >= wanted);
            drop(tokio::time::timeout(Duration::from_secs(5), enough).await);
            tokio::time::sleep(moment).await;
            drop(servers);
        };
        future::join(future::join_all(clients), killer).await;
        all.extend(log.into_inner().unwrap());
    }
    let server = Process::start(&directory);
    for pushes in all.chunks(50) {
        future::join_all(
            pushes
                .iter()
                .map(|push| verify(&http, server.address, push)),
        )
        .await;
    }
    let acknowledged = all.iter().filter(|push| push.acknowledged).count();
    assert!(
        acknowledged > 100,
        "only {acknowledged} pushes came through"
    );
}
