//! Our registry server beside Debian's docker-registry, and beside `$PEER_REGISTRY`.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use registryd::storage::FsStorage;
use serde_json::json;

use self::{
    http::Http,
    server::{Contender, Running},
};
use crate::{
    Options, Result, input,
    measure::{Measured, Sample, median},
    table::{Bar, Table},
};

mod http;
mod server;

/// First argument of the process that serves.
pub(crate) const WORKER: &str = "__registry-server";

/// Peak memory of the server through everything.
const MEMORY: u64 = 32 << 20;
/// Time from start to the first answer, in milliseconds.
const START: f64 = 50.0;
const CONNECTIONS: &str = "8";
/// Downloads of a round: they are short, and what else a machine does counts for much.
const DOWNLOADS: usize = 5;
const MANIFEST: &str = "/v2/bench/app/manifests/v1";

/// How much of everything.
struct Scale {
    rounds: usize,
    /// Of each run of wrk.
    seconds: u32,
    push: u64,
    download: u64,
    starts: usize,
}

pub(crate) fn bench(options: Options) -> Result<Table> {
    let scale = match options.quick {
        true => Scale {
            rounds: 1,
            seconds: 1,
            push: 64 << 20,
            download: 16 << 20,
            starts: 3,
        },
        false => Scale {
            rounds: 5,
            seconds: 3,
            push: 1 << 30,
            download: 128 << 20,
            starts: 15,
        },
    };
    let folder = match Path::new("/dev/shm").is_dir() {
        true => PathBuf::from("/dev/shm"),
        false => input::folder()?,
    };
    let work = tempfile::tempdir_in(folder)?;
    let content = Content::new(scale.download);
    let mut contenders = vec![Contender::us()?, Contender::docker_registry()];
    contenders.extend(Contender::from_env()?);
    let mut tracks = Vec::new();
    for (number, contender) in contenders.iter().enumerate() {
        let start = contender.start_time(&work.path().join("start"), scale.starts)?;
        let data = work.path().join(number.to_string());
        fs::create_dir(&data)?;
        let server = contender.start(&data)?;
        content.push(&server)?;
        tracks.push(Track::new(contender.name, server, start));
    }
    // The first round warms up.
    for round in 0..=scale.rounds {
        let pushed = http::Layer::new(scale.push, round);
        for track in &mut tracks {
            eprintln!("round {round} of {}: {}", scale.rounds, track.name);
            track.run(&content, &pushed, &scale, round == 0)?;
        }
    }
    let mut table = Table::new("registry-server");
    table.inputs = vec![
        format!(
            "manifest of {} bytes by tag, blob of {} bytes; wrk with {CONNECTIONS} connections",
            content.manifest.len(),
            content.small.len()
        ),
        format!(
            "push of {} MiB as one stream, download of {} MiB, content in memory",
            scale.push >> 20,
            scale.download >> 20
        ),
    ];
    judge(&mut table, &tracks)?;
    table.samples = vec![("push", tracks.iter().map(Track::pushes).collect())];
    Ok(table)
}

/// What is served.
struct Content {
    manifest: String,
    config: Vec<u8>,
    small: Vec<u8>,
    large: Vec<u8>,
}

impl Content {
    fn new(large: u64) -> Self {
        let config = b"{}".to_vec();
        let small = http::noise(60 << 10, 1);
        let layer = json!({
            "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
            "digest": http::digest(&small),
            "size": small.len(),
        });
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": http::digest(&config),
                "size": config.len(),
            },
            "layers": vec![layer; 480],
        });
        Self {
            manifest: manifest.to_string(),
            config,
            small,
            large: http::noise(usize::try_from(large).unwrap_or(usize::MAX), 2),
        }
    }

    fn push(&self, server: &Running) -> Result<()> {
        let mut http = Http::connect(&server.host)?;
        for blob in [&self.config, &self.small, &self.large] {
            http.push(blob.len() as u64, &http::digest(blob), |wire| {
                std::io::Write::write_all(wire, blob)
            })?;
        }
        let manifest = self.manifest.as_bytes();
        let kind = "application/vnd.oci.image.manifest.v1+json";
        http.put(MANIFEST, kind, manifest)
    }
}

/// One server and what was measured of it.
struct Track {
    name: &'static str,
    server: Running,
    start: f64,
    manifests: Vec<Load>,
    blobs: Vec<Load>,
    pushes: Vec<Sample>,
    downloads: Vec<f64>,
}

/// What wrk says.
struct Load {
    rate: f64,
    /// In milliseconds.
    p99: f64,
}

impl Track {
    fn new(name: &'static str, server: Running, start: f64) -> Self {
        Self {
            name,
            server,
            start,
            manifests: Vec::new(),
            blobs: Vec::new(),
            pushes: Vec::new(),
            downloads: Vec::new(),
        }
    }

    fn run(
        &mut self,
        content: &Content,
        layer: &http::Layer,
        scale: &Scale,
        warm_up: bool,
    ) -> Result<()> {
        let blob = format!("/v2/bench/app/blobs/{}", http::digest(&content.small));
        let manifests = wrk(&self.server.host, MANIFEST, scale.seconds)?;
        let blobs = wrk(&self.server.host, &blob, scale.seconds)?;
        let cpu = self.server.cpu()?;
        let wall = layer.push(&self.server.host)?;
        let push = Sample {
            wall,
            cpu: self.server.cpu()? - cpu,
            peak: self.server.peak()?,
        };
        self.server.forget(scale.push)?;
        let large = format!("/v2/bench/app/blobs/{}", http::digest(&content.large));
        let downloads = (0..DOWNLOADS).map(|_| {
            let mut http = Http::connect(&self.server.host)?;
            let seconds = http.download(&large, content.large.len())?;
            Ok(content.large.len() as f64 / seconds / 1e6)
        });
        let downloads = downloads.collect::<Result<Vec<_>>>()?;
        if !warm_up {
            self.manifests.push(manifests);
            self.blobs.push(blobs);
            self.pushes.push(push);
            self.downloads.extend(downloads);
        }
        Ok(())
    }

    fn pushes(&self) -> Measured {
        Measured {
            name: self.name,
            samples: self.pushes.clone(),
        }
    }
}

fn judge(table: &mut Table, tracks: &[Track]) -> Result<()> {
    let [us, peers @ ..] = tracks else {
        return Err("nothing was measured".into());
    };
    let rate = |loads: &[Load]| median(loads.iter().map(|load| load.rate));
    let p99 = |loads: &[Load]| median(loads.iter().map(|load| load.p99));
    for (n, peer) in peers.iter().enumerate() {
        // The bars are those to Debian's; beside others, figures are shown.
        let bar = |bar| if n == 0 { bar } else { Bar::None };
        for (what, ours, theirs, least) in [
            ("manifest by tag", &us.manifests, &peer.manifests, 52.0),
            ("blob", &us.blobs, &peer.blobs, 33.0),
        ] {
            let (figure, unit) = (format!("{what}, requests per second"), "");
            let theirs_rate = (peer.name, rate(theirs));
            table.rate(
                &figure,
                unit,
                rate(ours),
                theirs_rate,
                bar(Bar::AtLeast(least)),
            );
            let figure = format!("{what}, 99th percentile");
            table.less(
                &figure,
                " ms",
                p99(ours),
                (peer.name, p99(theirs)),
                bar(Bar::AtMost(0.1)),
            );
        }
        let (ours, theirs) = (us.pushes(), peer.pushes());
        let cpu = (peer.name, theirs.cpu());
        table.less(
            "push, processor time",
            " s",
            ours.cpu(),
            cpu,
            bar(Bar::AtMost(0.6)),
        );
        table.faster(
            "push, time",
            ours.wall(),
            (peer.name, theirs.wall()),
            Bar::None,
        );
        let megabytes = |track: &Track| median(track.downloads.iter().copied());
        let theirs = (peer.name, megabytes(peer));
        table.rate(
            "download",
            " MB/s",
            megabytes(us),
            theirs,
            bar(Bar::AtLeast(1.0)),
        );
        let peak = (peer.name, peer.server.peak()?);
        table.bytes("peak memory", us.server.peak()?, peak, Bar::None);
        let start = (peer.name, peer.start);
        table.less("start to first answer", " ms", us.start, start, Bar::None);
    }
    table.bytes(
        "peak memory",
        us.server.peak()?,
        ("limit", MEMORY),
        Bar::AtMost(1.0),
    );
    table.less(
        "start to first answer",
        " ms",
        us.start,
        ("limit", START),
        Bar::AtMost(1.0),
    );
    Ok(())
}

fn wrk(host: &str, path: &str, seconds: u32) -> Result<Load> {
    let wrk = env::var_os("WRK").unwrap_or_else(|| "wrk".into());
    let output = Command::new(wrk)
        .args(["--threads", "2", "--connections", CONNECTIONS, "--latency"])
        .arg(format!("--duration={seconds}s"))
        .args([
            "--header",
            "Accept: application/vnd.oci.image.manifest.v1+json",
        ])
        .arg(format!("http://{host}{path}"))
        .output()
        .map_err(|error| format!("wrk (apt install wrk): {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    read_wrk(&text).ok_or_else(|| format!("wrk says: {text}").into())
}

fn read_wrk(text: &str) -> Option<Load> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(name));
        line.map(str::trim)
    };
    // Such as `Non-2xx or 3xx responses: 5`, or `Socket errors: …`.
    if field("Non-2xx").is_some() || field("Socket errors").is_some() {
        return None;
    }
    let p99 = field("99%")?;
    let unit = p99.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = p99.split_at(unit);
    let scale = match unit {
        "us" => 1e-3,
        "ms" => 1.0,
        "s" => 1e3,
        _ => return None,
    };
    Some(Load {
        rate: field("Requests/sec:")?.parse().ok()?,
        p99: number.parse::<f64>().ok()? * scale,
    })
}

/// Serves a directory until it is killed.
pub(crate) fn work(args: &[OsString]) -> Result<()> {
    let [directory, address] = args else {
        return Err("expected DIRECTORY ADDRESS".into());
    };
    let address = address.to_str().ok_or("the address is no text")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let storage = FsStorage::open(directory)?;
        let _server = registryd::Server::builder(storage).bind(address).await?;
        loop {
            tokio::time::sleep(Duration::from_secs(3600)).await;
        }
    })
}
