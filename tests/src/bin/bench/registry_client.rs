//! Pushing and pulling images, beside skopeo, oci-client, and crane and regctl where `CRANE` and
//! `REGCTL` say where they are; to docker-registry and to our own server.
//!
//! All contenders get the same images and the same servers in the same run. `ONLY` limits the run
//! to some images and servers, and `ROUNDS` changes their number, for profiling:
//! `ONLY=big,docker-registry ROUNDS=1`.

mod counter;
mod floor;
mod image;
mod peer;
mod server;
mod worker;

use std::{env, fs, path::Path};

use tokio::runtime::Runtime;

use self::{
    counter::Counter,
    image::{Image, Small},
    peer::{Peer, To},
    server::Server,
};
use crate::{
    Options, Result, input,
    measure::{Measured, TMPFS, race, race_warm},
    table::{Bar, Table},
};

pub(crate) use worker::{WORKER, work};

/// Memory above that of an idle process that a gigabyte may cost.
const MEMORY: u64 = 32 << 20;

pub(crate) fn bench(options: Options) -> Result<Table> {
    let folder = match Path::new(TMPFS) {
        memory if memory.is_dir() => memory.to_owned(),
        _ => input::folder()?,
    };
    let work = tempfile::tempdir_in(folder)?;
    let bench = Bench {
        work: work.path(),
        rounds: match env::var("ROUNDS") {
            Ok(rounds) => rounds.parse()?,
            Err(_) => {
                if options.quick {
                    1
                } else {
                    5
                }
            }
        },
        peers: Peer::all()?,
        runtime: Runtime::new()?,
        idle: idle(work.path())?,
    };
    let mut table = Table::new("registry-client");
    let small = if options.quick { Small::Yes } else { Small::No };
    let only = env::var("ONLY").unwrap_or_default();
    let names: Vec<&str> = only.split(',').map(str::trim).collect();
    let (servers, images) = (["docker-registry", "registryd"], ["big", "layers", "index"]);
    let wanted = |name: &str, all: &[&str]| {
        names.contains(&name) || !all.iter().any(|known| names.contains(known))
    };
    for image in Image::all(small) {
        if !wanted(image.name, &images) {
            continue;
        }
        table.inputs.push(image.what.to_owned());
        let layout = work.path().join(image.name);
        bench.runtime.block_on(image.write(&layout, 1))?;
        for server in servers.into_iter().filter(|name| wanted(name, &servers)) {
            // A new one for each image, so that memory is freed.
            let content = tempfile::tempdir_in(work.path())?;
            let server = match server {
                "docker-registry" => Server::docker_registry(content.path())?,
                _ => Server::registryd(content.path())?,
            };
            // Counting comes first, and warms up.
            bench.requests(&mut table, &server, &image, &layout)?;
            bench.times(&mut table, &server, &image, &layout)?;
        }
        fs::remove_dir_all(&layout)?;
    }
    Ok(table)
}

/// Memory of a process that does nothing.
fn idle(work: &Path) -> Result<u64> {
    let command = [
        env::current_exe()?.into_os_string(),
        WORKER.into(),
        "idle".into(),
    ];
    let contender = crate::measure::Contender::new("idle", &work.join("none"), command);
    Ok(race(&[contender], 1)?[0].peak())
}

struct Bench<'a> {
    work: &'a Path,
    rounds: usize,
    peers: Vec<Peer>,
    runtime: Runtime,
    idle: u64,
}

impl Bench<'_> {
    /// Time and memory of pushes to repositories that have nothing, and of pulls.
    fn times(
        &self,
        table: &mut Table,
        server: &Server,
        image: &Image,
        layout: &Path,
    ) -> Result<()> {
        let to = format!("{}/bench/{}", server.host, image.name);
        let pushes: Vec<_> = self
            .peers
            .iter()
            .map(|peer| peer.push(layout, &to, To::New))
            .collect();
        // Medians of three are enough where nothing but our own server is compared.
        let rounds = match server.name {
            "docker-registry" => self.rounds,
            _ => self.rounds.min(3),
        };
        let pushed = race_warm(&pushes, rounds)?;
        let there = format!("{to}-there");
        self.peers[0].push(layout, &there, To::Named).run()?;
        let out = self.work.join("pulled");
        let mut pulls: Vec<_> = self
            .peers
            .iter()
            .map(|peer| peer.pull(&there, &out))
            .collect();
        if image.name == "big" {
            pulls.push(Peer::floor()?.pull(&there, &out));
        }
        let pulled = race_warm(&pulls, rounds)?;
        fs::remove_dir_all(&out)?;
        for (verb, runs) in [(Verb::Push, &pushed), (Verb::Pull, &pulled)] {
            let figure = format!("{}, {}, {}", image.name, server.name, verb.as_str());
            judge(table, &figure, verb, runs);
            if image.name == "big" {
                let limit = ("idle + 32 MiB", self.idle + MEMORY);
                let figure = format!("{figure}, peak memory");
                table.bytes(&figure, runs[0].peak(), limit, Bar::AtMost(1.0));
            }
        }
        table.samples.push((image.name, pushed));
        table.samples.push((image.name, pulled));
        Ok(())
    }

    /// Requests and bytes that reach the server, for each peer.
    fn requests(
        &self,
        table: &mut Table,
        server: &Server,
        image: &Image,
        layout: &Path,
    ) -> Result<()> {
        let (blobs, documents) = (image.blobs(), image.documents());
        let counter = self.runtime.block_on(Counter::start(&server.host))?;
        let other = self.work.join("other");
        self.runtime.block_on(image.write(&other, 2))?;
        let out = self.work.join("pulled");
        let mut counts = Vec::new();
        for peer in &self.peers {
            let to = format!("{}/counted/{}-{}", counter.host, image.name, peer.name);
            let mut found = Vec::new();
            for contender in [
                peer.push(layout, &to, To::Named),
                peer.push(layout, &to, To::Named),
                peer.pull(&to, &out),
                peer.push(&other, &to, To::Named),
            ] {
                counter.take()?;
                contender.run()?;
                found.push(counter.take()?);
            }
            counts.push((peer.name, found));
        }
        fs::remove_dir_all(&out)?;
        fs::remove_dir_all(&other)?;
        let prefix = format!("{}, {}", image.name, server.name);
        // Besides its blobs and manifests a push asks for the tag once.
        for (n, what, limit) in [
            (0, "requests of a first push", 2 * blobs + documents + 1),
            (1, "requests of a push again", 1),
            (2, "requests of a pull", blobs + documents),
        ] {
            let figure = format!("{prefix}, {what}");
            let us = counts[0].1[n].0;
            table.count(&figure, us, limit);
            for (peer, found) in &counts[1..] {
                table.count_beside(&figure, us, (peer, found[n].0));
            }
        }
        // Of manifests, too, which are not layers: they are sent whole.
        let figure = format!("{prefix}, bytes of a push of which all but one layer are there");
        let documents = 1 << 20;
        let limit = ("that layer + 1 MiB", image.largest_layer() + documents);
        table.bytes(&figure, counts[0].1[3].1, limit, Bar::AtMost(1.0));
        for (peer, found) in &counts[1..] {
            table.bytes(&figure, counts[0].1[3].1, (peer, found[3].1), Bar::None);
        }
        Ok(())
    }
}

/// Which way an image goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Push,
    Pull,
}

impl Verb {
    fn as_str(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Pull => "pull",
        }
    }
}

fn judge(table: &mut Table, figure: &str, verb: Verb, runs: &[Measured]) {
    let (us, peers) = (&runs[0], &runs[1..]);
    // crane is the measure for pushes, the faster of the two for pulls.
    let go = peers
        .iter()
        .filter(|peer| matches!(peer.name, "crane" | "regctl"));
    let fastest = go.map(Measured::wall).min_by(f64::total_cmp);
    for peer in peers {
        let bar = match (peer.name, verb) {
            ("skopeo", Verb::Push) => Bar::AtLeast(4.0),
            ("skopeo", Verb::Pull) => Bar::AtLeast(2.5),
            ("oci-client", _) => Bar::AtMost(1.0),
            ("crane", Verb::Push) => Bar::AtMost(1.15),
            (_, Verb::Pull) if fastest == Some(peer.wall()) => Bar::AtMost(1.05),
            _ => Bar::None,
        };
        let name = peer.name;
        table.faster(
            &format!("{figure}, wall"),
            us.wall(),
            (name, peer.wall()),
            bar,
        );
        table.faster(
            &format!("{figure}, processor"),
            us.cpu(),
            (name, peer.cpu()),
            Bar::None,
        );
        table.bytes(
            &format!("{figure}, peak memory"),
            us.peak(),
            (name, peer.peak()),
            Bar::None,
        );
    }
}
