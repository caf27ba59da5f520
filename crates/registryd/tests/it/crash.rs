//! Two server processes on one directory, killed again and again under load: what was acknowledged
//! is there, and nothing is there in part.

use std::{net::SocketAddr, sync::Mutex, time::Duration};

use futures_util::future;
use ocicore::{Digest, MediaType};
use reqwest::{Client, RequestBuilder, Response};
use serde_json::json;
use tokio::sync::watch;

use crate::{client::descriptor, process::Process};

/// Each at a moment of its own.
const KILLS: u32 = 200;
/// Longest wait for an answer. A living server answers sooner on any machine.
const PATIENCE: Duration = Duration::from_secs(30);

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
    faults: &Mutex<Vec<String>>,
) {
    for number in 0.. {
        let mut push = push(name.0, name.1, number);
        let sent = send(http, address, &push).await;
        push.acknowledged = sent.is_ok();
        log.lock().unwrap().push(push);
        if sent.is_ok() {
            count.send_modify(|n| *n += 1);
        }
        if let Err(fault) = sent {
            faults.lock().unwrap().push(fault);
            return;
        }
    }
}

/// The answer to one request, if it is good. There may be none: when a server is killed at the
/// moment at which the HTTP client hands a request to an open connection, the client may wait for
/// ever, with no socket left.
async fn answer(request: RequestBuilder) -> Result<Response, String> {
    let shown = format!("{request:?}");
    match tokio::time::timeout(PATIENCE, request.send()).await {
        Ok(Ok(response)) if response.status().is_success() => Ok(response),
        Ok(Ok(response)) => {
            let status = response.status();
            Err(format!("{shown}: {status} {:?}", response.text().await))
        }
        Ok(Err(error)) => Err(format!("{error:?}")),
        Err(_) => Err(format!("{shown} is not answered")),
    }
}

async fn send(http: &Client, address: SocketAddr, push: &Push) -> Result<(), String> {
    let base = format!("http://{address}/v2/a");
    for content in [b"{}".as_slice(), &push.layer] {
        let digest = Digest::of(content);
        let begun = answer(http.post(format!("{base}/blobs/uploads/"))).await?;
        let location = begun.headers()["location"].to_str().unwrap();
        let location = format!("http://{address}{location}");
        let (first, rest) = content.split_at(content.len() / 2);
        answer(http.patch(&location).body(first.to_vec())).await?;
        let put = http.put(format!("{location}?digest={digest}"));
        answer(put.body(rest.to_vec())).await?;
    }
    let put = http
        .put(format!("{base}/manifests/{}", push.tag))
        .header("content-type", MediaType::OCI_MANIFEST.as_str())
        .body(push.manifest.clone());
    answer(put).await?;
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
        let servers = [
            Process::start(directory.path()),
            Process::start(directory.path()),
        ];
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
        // Of the clients of each server.
        let faults = [Mutex::new(Vec::new()), Mutex::new(Vec::new())];
        let clients = (0..4).map(|n| {
            let (address, faults) = (addresses[n % 2], &faults[n % 2]);
            client(&http, address, (round, n), &log, &count, faults)
        });
        let mut chance = || {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            random >> 8
        };
        // At times before anything was acknowledged, at times after some.
        let wanted = chance() as usize % 4;
        let moments = [(); 2].map(|()| Duration::from_micros(u64::from(chance()) % 40_000));
        let mut acknowledged = count.subscribe();
        let killer = async {
            // A client that is refused before the kill, or not answered, is a fault of the server.
            // The guard that the wait ends with would keep the clients from counting.
            let enough = async { acknowledged.wait_for(|n| *n >= wanted).await.is_ok() };
            let enough = tokio::time::timeout(2 * PATIENCE, enough).await;
            assert!(
                enough.is_ok(),
                "round {round}: living servers acknowledge no push: {faults:#?}"
            );
            // One after the other, so that the second has to live with what the first one left.
            for ((server, moment), faults) in servers.into_iter().zip(moments).zip(&faults) {
                tokio::time::sleep(moment).await;
                let refused = faults.lock().unwrap().clone();
                assert!(refused.is_empty(), "round {round}: {refused:#?}");
                drop(server);
            }
        };
        future::join(future::join_all(clients), killer).await;
        all.extend(log.into_inner().unwrap());
    }
    let server = Process::start(directory.path());
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
