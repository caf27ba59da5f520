//! Pushing and pulling images, beside skopeo and oci-client.

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, TryStreamExt, stream};
use ocicore::{
    Blob, BytesBlob, Cx, Descriptor, ImageSink, ImageSource, ImageStore, Layout, MediaType, Name,
    Place, Platform, RawManifest, Repositories, Tag, copy,
};
use ociregistry::Registry;
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::{
    Options, Result, input,
    measure::{Contender, Measured, race},
    table::{Bar, Table},
};

/// First argument of the processes that do the work.
pub(crate) const WORKER: &str = "__registry-client";

/// Blobs that are moved at once, by us and by oci-client.
const JOBS: usize = 6;
const TAG: &str = "v1";

pub(crate) fn bench(options: Options) -> Result<Table> {
    let runtime = tokio::runtime::Runtime::new()?;
    let folder = match Path::new("/dev/shm").is_dir() {
        true => PathBuf::from("/dev/shm"),
        false => input::folder()?,
    };
    let work = tempfile::tempdir_in(folder)?;
    let scale = if options.quick { 16 } else { 1 };
    let rounds = if options.quick { 1 } else { 5 };
    let mut table = Table::new("registry-client");
    let server = Server::start(work.path())?;
    let idle = race(&[worker("idle", work.path(), &["idle"])?], 1)?[0].peak();
    for image in [
        Image::new(
            "1 GiB in 8 layers",
            "big",
            1,
            8,
            |_| (1 << 27, 1 << 27),
            scale,
        ),
        Image::new(
            "500 layers of 4 to 64 KiB",
            "layers",
            1,
            500 / scale,
            |n| (4096 + (n * 7919) % 61_440, 1),
            1,
        ),
        Image::new(
            "index of 100 manifests with 5 layers",
            "index",
            100 / scale,
            5,
            |n| (4096 + (n * 7919) % 61_440, 1),
            1,
        ),
    ] {
        let layout = work.path().join(image.name);
        runtime.block_on(image.write(&layout))?;
        table.inputs.push(image.what.to_owned());
        let pushed = race(&pushes(&server, &layout, &image, work.path())?, rounds)?;
        judge(&mut table, &format!("{}, push", image.name), &pushed, 4.0);
        let there = format!("{}/bench/{}-there", server.host, image.name);
        run(&["push".as_ref(), layout.as_os_str(), there.as_ref()])?;
        let pulled = race(&pulls(&there, &image, work.path())?, rounds)?;
        judge(&mut table, &format!("{}, pull", image.name), &pulled, 2.5);
        if image.name == "big" {
            for (what, measured) in [("push", &pushed), ("pull", &pulled)] {
                let limit = ("idle + 32 MiB", idle + (32 << 20));
                let figure = format!("big, {what}, peak memory");
                table.bytes(&figure, measured[0].peak(), limit, Bar::AtMost(1.0));
                for peer in &measured[1..] {
                    table.bytes(
                        &figure,
                        measured[0].peak(),
                        (peer.name, peer.peak()),
                        Bar::None,
                    );
                }
            }
        }
        requests(&mut table, &server, &image, &layout, work.path())?;
        table.samples.push((image.name, pushed));
        table.samples.push((image.name, pulled));
        fs::remove_dir_all(&layout)?;
    }
    Ok(table)
}

/// How the requests that the server counts compare with what is needed.
fn requests(
    table: &mut Table,
    server: &Server,
    image: &Image,
    layout: &Path,
    work: &Path,
) -> Result<()> {
    let to = format!("{}/bench/{}-counted", server.host, image.name);
    let blobs = image.blobs() as u64;
    let manifests = image.manifests as u64 + u64::from(image.manifests > 1);
    let push = |to: &str| run(&["push".as_ref(), layout.as_os_str(), to.as_ref()]);
    let pull = |to: &str| {
        let out = work.join("counted");
        let done = run(&["pull".as_ref(), to.as_ref(), out.as_os_str()]);
        fs::remove_dir_all(out)?;
        done
    };
    // Besides its blobs and manifests a push asks for the tag once.
    let first = server.count(|| push(&to))?;
    table.count(
        &format!("{}, requests of a push", image.name),
        first,
        2 * blobs + manifests + 1,
    );
    let again = server.count(|| push(&to))?;
    table.count(
        &format!("{}, requests of the push again", image.name),
        again,
        1,
    );
    let pulled = server.count(|| pull(&to))?;
    table.count(
        &format!("{}, requests of a pull", image.name),
        pulled,
        blobs + manifests,
    );
    Ok(())
}

fn judge(table: &mut Table, figure: &str, runs: &[Measured], skopeo: f64) {
    for peer in &runs[1..] {
        let bar = match peer.name {
            "skopeo" => Bar::AtLeast(skopeo),
            "oci-client" => Bar::AtLeast(1.0),
            _ => Bar::None,
        };
        let wall = format!("{figure}, wall");
        table.faster(&wall, runs[0].wall(), (peer.name, peer.wall()), bar);
        let cpu = format!("{figure}, processor");
        table.faster(&cpu, runs[0].cpu(), (peer.name, peer.cpu()), Bar::None);
    }
}

/// Every push goes to a repository of its own, so that nothing is there.
fn pushes(server: &Server, layout: &Path, image: &Image, work: &Path) -> Result<Vec<Contender>> {
    let to = format!("{}/bench/{}", server.host, image.name);
    let none = work.join("none");
    let exe = env::current_exe()?;
    let skopeo = env::var_os("SKOPEO").ok_or("skopeo is missing, see `cargo xtask peers`")?;
    let fresh = "$(date +%s%N)";
    let own = |name, verb: &str| {
        let line = format!("exec \"$1\" {WORKER} {verb} \"$2\" \"$3-{name}-{fresh}\"");
        Contender::shell(name, &none, &line, &[&exe, layout, Path::new(&to)])
    };
    // skopeo remembers on disk what it has pushed where, and would mount it from there: each run
    // gets a memory of its own, as root by a mount that nobody else sees.
    let forgetful = "export XDG_DATA_HOME=\"$home\"; cache=/var/lib/containers/cache; \
        if [ \"$(id -u)\" = 0 ]; then mkdir -p $cache; \
        set -- unshare -m sh -euc 'mount -t tmpfs none /var/lib/containers/cache; exec \"$@\"' sh \"$@\"; fi; ";
    let line = format!(
        "to=docker://\"$3-skopeo-{fresh}\":{TAG}; from=oci:\"$2\":{TAG}; skopeo=$1; home=$4; \
         set -- \"$skopeo\" --insecure-policy copy --all --preserve-digests --dest-tls-verify=false \"$from\" \"$to\"; \
         {forgetful} exec \"$@\""
    );
    let skopeo = Contender::shell(
        "skopeo",
        &none,
        &line,
        &[Path::new(&skopeo), layout, Path::new(&to), &none],
    );
    let mut all = vec![own("us", "push"), skopeo];
    if image.manifests == 1 {
        all.push(own("oci-client", "push-oci-client"));
    }
    Ok(all)
}

fn pulls(from: &str, image: &Image, work: &Path) -> Result<Vec<Contender>> {
    let skopeo = env::var_os("SKOPEO").ok_or("skopeo is missing, see `cargo xtask peers`")?;
    let out = work.join("pulled");
    let at = out.display().to_string();
    let line = format!(
        "exec \"$1\" --insecure-policy copy --all --preserve-digests --src-tls-verify=false docker://\"$2\":{TAG} oci:\"$3\":{TAG}"
    );
    let skopeo = Contender::shell(
        "skopeo",
        &out,
        &line,
        &[Path::new(&skopeo), Path::new(from), &out],
    );
    let mut all = vec![worker("us", &out, &["pull", from, &at])?, skopeo];
    if image.manifests == 1 {
        all.push(worker("oci-client", &out, &["pull-oci-client", from, &at])?);
    }
    Ok(all)
}

fn worker(name: &'static str, output: &Path, args: &[&str]) -> Result<Contender> {
    let exe = env::current_exe()?;
    let command = [exe.into_os_string(), WORKER.into()].into_iter();
    let output = if name == "idle" {
        output.join("none")
    } else {
        output.to_owned()
    };
    Ok(Contender::new(
        name,
        &output,
        command.chain(args.iter().map(OsString::from)),
    ))
}

fn run(args: &[&std::ffi::OsStr]) -> Result<()> {
    let status = Command::new(env::current_exe()?)
        .arg(WORKER)
        .args(args)
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{args:?}: {status}").into())
    }
}

/// An image, or an index of some.
struct Image {
    what: &'static str,
    name: &'static str,
    manifests: usize,
    layers: usize,
    size: fn(usize) -> (usize, usize),
    scale: usize,
}

impl Image {
    fn new(
        what: &'static str,
        name: &'static str,
        manifests: usize,
        layers: usize,
        size: fn(usize) -> (usize, usize),
        scale: usize,
    ) -> Self {
        Self {
            what,
            name,
            manifests,
            layers,
            size,
            scale,
        }
    }

    /// Layers and configs.
    fn blobs(&self) -> usize {
        self.manifests * (self.layers + 1)
    }

    async fn write(&self, path: &Path) -> Result<()> {
        let (cx, layout) = (Cx::default(), Layout::open_or_create(path)?);
        let mut seed = 1;
        let mut entries = Vec::new();
        for image in 0..self.manifests {
            let config = BytesBlob::new(
                MediaType::OCI_CONFIG,
                json!({"n": image, "rootfs": {"type": "layers", "diff_ids": []}}).to_string(),
            );
            layout.put_blob(&cx, &config).await?;
            let mut layers = Vec::new();
            for layer in 0..self.layers {
                let size = (self.size)(image * self.layers + layer).0 / self.scale;
                let blob = BytesBlob::new(MediaType::OCI_LAYER, random(size, &mut seed));
                layout.put_blob(&cx, &blob).await?;
                layers.push(blob.descriptor().clone());
            }
            let json = json!({"schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "config": config.descriptor(), "layers": layers});
            let manifest = RawManifest::new(MediaType::OCI_MANIFEST, json.to_string());
            let tags = [tag()];
            let place = if self.manifests == 1 {
                Place::Root(&tags)
            } else {
                Place::Child
            };
            layout.put_manifest(&cx, &manifest, place).await?;
            let platform = Platform::new("linux", format!("arch{image}"));
            entries.push(manifest.descriptor().clone().with_platform(platform));
        }
        if self.manifests > 1 {
            let json = json!({"schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": entries});
            let index = RawManifest::new(MediaType::OCI_INDEX, json.to_string());
            layout
                .put_manifest(&cx, &index, Place::Root(&[tag()]))
                .await?;
        }
        Ok(())
    }
}

fn tag() -> Tag {
    TAG.parse().expect("the tag is valid")
}

/// Bytes that no server can compress (xorshift).
fn random(size: usize, seed: &mut u64) -> Vec<u8> {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    let mut state = *seed | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// Debian's docker-registry, with a log of requests.
struct Server {
    host: String,
    log: PathBuf,
    child: Child,
}

impl Server {
    fn start(work: &Path) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let host = format!("127.0.0.1:{port}");
        let (config, log) = (work.join("config.yml"), work.join("log"));
        let data = work.join("data");
        fs::write(
            &config,
            format!(
                "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\nhttp:\n  addr: {host}\n",
                data.display()
            ),
        )?;
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(File::create(&log)?)
            .stderr(Stdio::null())
            .spawn()?;
        let server = Self { host, log, child };
        let start = Instant::now();
        while TcpStream::connect(&server.host).is_err() {
            if start.elapsed() > Duration::from_secs(10) {
                return Err("docker-registry does not answer".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// Requests of what `work` does, by the server's own log.
    fn count(&self, work: impl FnOnce() -> Result<()>) -> Result<u64> {
        let lines = || -> Result<usize> {
            let log = fs::read_to_string(&self.log)?;
            Ok(log
                .lines()
                .filter(|line| line.contains(" HTTP/1.1\""))
                .count())
        };
        let before = lines()?;
        work()?;
        Ok(u64::try_from(lines()? - before)?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, and then there is nothing to stop.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Does one contender's work in a process of its own.
pub(crate) fn work(args: &[OsString]) -> Result<()> {
    let words: Vec<&str> = args.iter().filter_map(|arg| arg.to_str()).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match words[..] {
            ["idle"] => Ok(()),
            ["push", layout, to] => {
                let to = Registry::builder().build().repository(&to.parse()?)?;
                copy_all(Arc::new(Layout::open(layout)?), to).await
            }
            ["pull", from, layout] => {
                let from = Registry::builder().build().repository(&from.parse()?)?;
                copy_all(from, Arc::new(Layout::open_or_create(layout)?)).await
            }
            ["push-oci-client", layout, to] => push_by_peer(&Layout::open(layout)?, to).await,
            ["pull-oci-client", from, folder] => pull_by_peer(from, Path::new(folder)).await,
            _ => Err(format!("unknown work: {words:?}").into()),
        }
    })
}

async fn copy_all(from: Arc<dyn ImageStore>, to: Arc<dyn ImageStore>) -> Result<()> {
    let cx = Cx::default();
    let root = copy::Root::same(Name::Tag(tag()));
    let options = copy::Options::default().without_referrers().with_jobs(JOBS);
    let plan = copy::plan(&cx, &*from, &*to, &[root], &options).await?;
    copy::run(&cx, plan, from, to).await?;
    Ok(())
}

fn peer() -> oci_client::Client {
    oci_client::Client::new(oci_client::client::ClientConfig {
        protocol: oci_client::client::ClientProtocol::Http,
        use_monolithic_push: true,
        ..Default::default()
    })
}

/// As a program on oci-client would push a layout: each blob as a stream, in one request.
async fn push_by_peer(from: &Layout, to: &str) -> Result<()> {
    let client = peer();
    let image: oci_client::Reference = format!("{to}:{TAG}").parse()?;
    let auth = oci_client::secrets::RegistryAuth::Anonymous;
    client
        .store_auth_if_needed(image.resolve_registry(), &auth)
        .await;
    let manifest = from.manifest(&Cx::default(), &Name::Tag(tag())).await?;
    let links = manifest.links()?;
    let push = |descriptor: &Descriptor| {
        let (blob, client, image) = (from.blob(descriptor), &client, &image);
        async move {
            let (size, digest) = (
                blob.descriptor().size(),
                blob.descriptor().digest().to_string(),
            );
            let content = blob.open(0..size).map_err(|error| {
                oci_client::errors::OciDistributionError::GenericError(Some(error.to_string()))
            });
            client
                .push_blob_stream(image, content, &digest, Some(size))
                .await
        }
    };
    stream::iter(links.blobs().map(push))
        .buffer_unordered(JOBS)
        .try_for_each(|_| std::future::ready(Ok(())))
        .await?;
    let media_type = manifest.media_type().as_str().parse()?;
    client
        .push_manifest_raw(&image, manifest.bytes().clone(), media_type)
        .await?;
    Ok(())
}

/// As a program on oci-client would pull: each blob as a verified stream into a file.
async fn pull_by_peer(from: &str, folder: &Path) -> Result<()> {
    let client = peer();
    let image: oci_client::Reference = format!("{from}:{TAG}").parse()?;
    let auth = oci_client::secrets::RegistryAuth::Anonymous;
    fs::create_dir_all(folder)?;
    let (bytes, _) = client
        .pull_manifest_raw(&image, &auth, &[MediaType::OCI_MANIFEST.as_str()])
        .await?;
    let links = RawManifest::new(MediaType::OCI_MANIFEST, bytes).links()?;
    let pull = |descriptor: &Descriptor| {
        let (client, image) = (&client, &image);
        let descriptor = ociregistry::interop::to_descriptor(descriptor);
        async move {
            let descriptor = descriptor?;
            let mut file =
                tokio::fs::File::create(folder.join(descriptor.digest.replace(':', "-"))).await?;
            let mut content = client.pull_blob_stream(image, &descriptor).await?;
            while let Some(chunk) = content.next().await {
                file.write_all(&chunk?).await?;
            }
            file.flush().await?;
            Result::Ok(())
        }
    };
    stream::iter(links.blobs().map(pull))
        .buffer_unordered(JOBS)
        .try_for_each(|()| std::future::ready(Ok(())))
        .await
}
