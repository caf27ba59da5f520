//! Talend jobs to one image in a registry, beside what the original does up to its archive.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use ocicore::{Cx, ImageBuilder, Platform, Reference, Repositories, SizeLimits, copy};
use ociregistry::Registry;
use registryd::{Server, storage::FsStorage};
use talend::{
    application::{JobInput, MergeSpec, merge},
    layers::LayerOptions,
};

use crate::{
    Options, Result, input,
    measure::{Contender, race},
    table::{Bar, Table},
};

/// First argument of the process that merges and pushes.
pub(crate) const WORKER: &str = "__talend";

/// Jobs that are released together.
const JOBS: usize = 50;
/// Bytes of libraries in each, of which four fifths are the same in all.
const JOB: u64 = 30 << 20;
/// Bytes of the jar with a job's own classes.
const OWN_JAR: usize = 100 << 10;
/// Bytes of the jar with the routines, which all jobs have.
const ROUTINES: usize = 400 << 10;

/// What the original does (bin/tcf-package.sh and its manifest's merge, F2 to F12 of its scripts):
/// unpacks each job, renames, edits, merges; then packs. `$1` is its directory, then come the jobs.
const ORIGINAL: &str = r#"
    work=$1; shift
    mkdir -p "$work/target/app"
    for zip in "$@"; do
        root=$(basename "$zip" .zip); job=${root%_*}
        unzip -q -o "$zip" -d "$work/$root"
        mv "$work/$root/jobInfo.properties" "$work/$root/jobInfo_$job.properties"
        mv "$work/$root/lib/routines.jar" "$work/$root/lib/routines_$job.jar"
        sed -i "s/routines\.jar/routines_$job\.jar/g" "$work/$root/$job/${job}_run.sh"
        sed -i "s/^java /exec java /g" "$work/$root/$job/${job}_run.sh"
        chmod +x "$work/$root/$job/${job}_run.sh"
        rsync -aibh "$work/$root/" "$work/target/app/" > /dev/null
    done
    tar -zcpf "$work/app.tgz" -C "$work/target" app"#;

pub(crate) fn bench(options: Options) -> Result<Table> {
    for tool in ["unzip", "rsync"] {
        let found = Command::new(tool).arg("--help").output();
        found.map_err(|_| format!("{tool} is missing, see `cargo xtask peers`"))?;
    }
    let (scale, jobs) = if options.quick { (16, 5) } else { (1, JOBS) };
    let rounds = if options.quick { 1 } else { 3 };
    let folder = input::folder()?;
    let libraries = input::talend_like(&folder, (331 << 20) / scale)?;
    let inputs = Inputs::make(&folder, &libraries, jobs, JOB / scale)?;
    let mut table = Table::new("talend");
    table.inputs.push(inputs.to_string());

    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory } else { &folder };
    let work = tempfile::tempdir_in(place)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let storage = FsStorage::open(work.path().join("registry"))?;
    let server = runtime.block_on(Server::builder(storage).bind("127.0.0.1:0"))?;

    let (ours, theirs) = (work.path().join("ours"), work.path().join("theirs"));
    let this = env::current_exe()?;
    let mut words = vec![&*this, &*ours];
    words.extend(inputs.zips.iter().map(PathBuf::as_path));
    // A repository of its own for each run, so that nothing is there.
    let push = format!(
        "work=$2; mkdir \"$work\"; program=$1; shift 2; \
         exec \"$program\" {WORKER} {}/run-$(date +%s%N)/app:1 \"$work\" \"$@\"",
        server.addr()
    );
    let mut paths = vec![&*theirs];
    paths.extend(inputs.zips.iter().map(PathBuf::as_path));
    let contenders = [
        Contender::shell("us", &ours, &push, &words),
        Contender::shell("unzip, sed, rsync, tar czf", &theirs, ORIGINAL, &paths),
    ];
    let runs = race(&contenders, rounds)?;
    let [us, original] = runs.as_slice() else {
        return Err("two contenders have two results".into());
    };
    let theirs = (original.name, original.wall());
    table.faster(
        "merged and pushed, wall",
        us.wall(),
        theirs,
        Bar::AtLeast(10.0),
    );
    let theirs = (original.name, original.cpu());
    table.faster("merged and pushed, processor", us.cpu(), theirs, Bar::None);
    let limit = ("limit", 128 << 20);
    table.bytes("peak memory", us.peak(), limit, Bar::AtMost(1.0));

    let relay = Relay::start(server.addr())?;
    let counted = |zips: &[PathBuf]| -> Result<u64> {
        let before = relay.bytes.load(Ordering::Relaxed);
        if ours.exists() {
            fs::remove_dir_all(&ours)?;
        }
        fs::create_dir(&ours)?;
        let to = format!("{}/counted/app:1", relay.address);
        let mut command = Command::new(&this);
        let status = command.arg(WORKER).arg(to).arg(&ours).args(zips).status()?;
        if !status.success() {
            return Err(format!("us: {status}").into());
        }
        Ok(relay.bytes.load(Ordering::Relaxed) - before)
    };
    let first = counted(&inputs.zips)?;
    let again = counted(&inputs.zips)?;
    let changed = counted(&inputs.changed)?;
    table.bytes("moved by the first run", first, ("nothing", 0), Bar::None);
    table.bytes(
        "moved by the same run again",
        again,
        ("limit", 100_000),
        Bar::AtMost(1.0),
    );
    let limit = ("limit", 1_000_000);
    table.bytes(
        "moved when one job's jar of 100 kB changed",
        changed,
        limit,
        Bar::AtMost(1.0),
    );
    table.samples.push(("jobs", runs));
    runtime.block_on(server.shutdown());
    Ok(table)
}

/// Merges jobs and pushes them as one image: what a program does that embeds the crates.
pub(crate) fn work(args: &[OsString]) -> Result<()> {
    let [to, folder, zips @ ..] = args else {
        return Err("expected IMAGE FOLDER ZIP...".into());
    };
    let to: Reference = to.to_str().ok_or("it is UTF-8")?.parse()?;
    let (folder, zips) = (PathBuf::from(folder), zips.to_vec());
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let cx = Cx::default();
        let image = cx.blocking(move |cx| merged(&cx, &zips, &folder)).await;
        let image = image.map_err(|error| error.to_string())?;
        let registry = Registry::builder().build();
        let sink = registry.repository(to.repository())?;
        let root = copy::Root::tagged(*image.digest(), to.tag().cloned());
        let plan = copy::plan(&cx, &image, &*sink, &[root], &copy::Options::default()).await?;
        copy::run(&cx, plan, Arc::new(image), sink).await?;
        Ok(())
    })
}

fn merged(
    cx: &Cx,
    zips: &[OsString],
    folder: &Path,
) -> Result<ocicore::Image, Box<dyn std::error::Error + Send + Sync>> {
    let mut jobs = Vec::new();
    for zip in zips.iter().map(Path::new) {
        let name = zip.file_name().unwrap_or_default().to_string_lossy();
        jobs.push(JobInput::new(
            name,
            repack::zip::open(cx, zip, &SizeLimits::default())?,
        ));
    }
    let application = merge(cx, jobs, &MergeSpec::new("app").with_version("1.0"))?;
    let builder = ImageBuilder::scratch(&Platform::host());
    e2e::images::of(cx, application, &LayerOptions::default(), builder, folder)
}

/// The jobs, and the same jobs with one jar that changed.
struct Inputs {
    zips: Vec<PathBuf>,
    changed: Vec<PathBuf>,
    bytes: u64,
    common: u64,
}

impl Inputs {
    fn make(folder: &Path, libraries: &Path, jobs: usize, size: u64) -> Result<Self> {
        let dealt = Dealt::deal(libraries, jobs, size)?;
        let name = format!("jobs-{jobs}-{size}-even");
        let to = folder.join(&name);
        if !to.is_dir() {
            eprintln!("making {name}");
            let half = folder.join(format!("half-{name}"));
            if half.exists() {
                fs::remove_dir_all(&half)?;
            }
            fs::create_dir_all(half.join("changed"))?;
            for job in 0..jobs {
                dealt.write(libraries, job, 0, &half.join(zip_name(job)))?;
            }
            let last = jobs - 1;
            dealt.write(
                libraries,
                last,
                1,
                &half.join("changed").join(zip_name(last)),
            )?;
            fs::rename(half, &to)?;
        }
        let zips: Vec<PathBuf> = (0..jobs).map(|job| to.join(zip_name(job))).collect();
        let mut changed = zips.clone();
        changed[jobs - 1] = to.join("changed").join(zip_name(jobs - 1));
        Ok(Self {
            zips,
            changed,
            bytes: size * jobs as u64,
            common: dealt.common_bytes * jobs as u64,
        })
    }
}

impl std::fmt::Display for Inputs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let jobs = self.zips.len();
        let each = self.bytes as f64 / jobs as f64 / f64::from(1 << 20);
        let common = self.common as f64 * 100.0 / self.bytes as f64;
        write!(
            f,
            "{jobs} jobs of {each:.1} MiB, {common:.0} % of it jars that all have"
        )
    }
}

fn zip_name(job: usize) -> String {
    format!("Load{job}_0.1.zip")
}

/// Which jars go to which job, by their index in the archive that they come from; and what each job
/// lacks then, which a jar of noise brings: jars shrink no more than that.
struct Dealt {
    common: Vec<usize>,
    own: Vec<Vec<usize>>,
    /// Bytes that all jobs have.
    common_bytes: u64,
    common_lack: usize,
    own_lack: Vec<usize>,
}

impl Dealt {
    /// Four fifths are common: the largest jars that fit; of the rest each goes to the job that has
    /// the least.
    fn deal(libraries: &Path, jobs: usize, size: u64) -> Result<Self> {
        let mut archive = zip::ZipArchive::new(fs::File::open(libraries)?)?;
        let mut jars = Vec::new();
        for index in 0..archive.len() {
            let entry = archive.by_index_raw(index)?;
            if entry.name()?.ends_with(".jar") {
                jars.push((entry.size(), index));
            }
        }
        jars.sort_unstable_by(|one, other| other.cmp(one));
        let (mut common, mut own) = (Vec::new(), vec![Vec::new(); jobs]);
        let common_bytes = size / 5 * 4;
        let mut common_lack = common_bytes - ROUTINES as u64;
        let mut own_lack = vec![size - common_bytes - OWN_JAR as u64; jobs];
        for (bytes, index) in jars {
            let least = (0..jobs).max_by_key(|job| own_lack[*job]).unwrap_or(0);
            if bytes <= common_lack {
                common_lack -= bytes;
                common.push(index);
            } else if bytes <= own_lack[least] {
                own_lack[least] -= bytes;
                own[least].push(index);
            }
        }
        let lacks = own_lack.into_iter().map(usize::try_from);
        Ok(Self {
            common,
            own,
            common_bytes,
            common_lack: common_lack.try_into()?,
            own_lack: lacks.collect::<Result<_, _>>()?,
        })
    }

    /// A job as Studio builds it; its jars are as they are in their archive.
    fn write(&self, libraries: &Path, job: usize, state: u64, to: &Path) -> Result<()> {
        let mut archive = zip::ZipArchive::new(fs::File::open(libraries)?)?;
        let mut out = zip::ZipWriter::new(io::BufWriter::new(fs::File::create(to)?));
        for index in self.common.iter().chain(&self.own[job]) {
            out.raw_copy_file(archive.by_index_raw(*index)?)?;
        }
        let name = format!("Load{job}");
        let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let launcher = format!(
            "#!/bin/sh\ncd `dirname $0`\nROOT_PATH=`pwd`\njava -Xms256M -cp \
             .:$ROOT_PATH:$ROOT_PATH/../lib/routines.jar:$ROOT_PATH/{}_0_1.jar: \
             gantry.{name}  --context=Default \"$@\" ",
            name.to_lowercase()
        );
        let info = format!("job={name}\njobVersion=0.1\nproject=GANTRY\n");
        files.insert("jobInfo.properties".to_owned(), info.into());
        files.insert("lib/routines.jar".to_owned(), noise(0, ROUTINES));
        let common = noise(1 << 32, self.common_lack);
        files.insert("lib/common-1.0.jar".to_owned(), common);
        let own = noise(1 << 33 | job as u64, self.own_lack[job]);
        files.insert(format!("lib/{}-1.0.jar", name.to_lowercase()), own);
        files.insert(format!("{name}/{name}_run.sh"), launcher.into());
        let classes = noise(1 + job as u64 + state * 1000, OWN_JAR);
        files.insert(format!("{name}/{}_0_1.jar", name.to_lowercase()), classes);
        let contexts = format!("{name}/gantry/{}_0_1/contexts", name.to_lowercase());
        for context in ["Default", "Production"] {
            let text = format!("context={context}\n");
            files.insert(format!("{contexts}/{context}.properties"), text.into());
        }
        for (path, bytes) in files {
            out.start_file(path, zip::write::SimpleFileOptions::default())?;
            out.write_all(&bytes)?;
        }
        out.finish()?.flush()?;
        Ok(())
    }
}

/// Bytes that do not shrink, as those of jars (splitmix64).
fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bytes.extend_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// Passes connections on to the registry, and counts what it gets.
struct Relay {
    address: SocketAddr,
    bytes: Arc<AtomicU64>,
}

impl Relay {
    fn start(to: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let relay = Self {
            address: listener.local_addr()?,
            bytes: Arc::default(),
        };
        let bytes = Arc::clone(&relay.bytes);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(to)) else {
                    return;
                };
                let (Ok(back), Ok(answers)) = (client.try_clone(), server.try_clone()) else {
                    return;
                };
                let bytes = Arc::clone(&bytes);
                thread::spawn(move || pass(client, server, &bytes));
                thread::spawn(move || pass(answers, back, &AtomicU64::default()));
            }
        });
        Ok(relay)
    }
}

/// Copies until the one side ends or the other does not take any more.
fn pass(mut from: TcpStream, mut to: TcpStream, count: &AtomicU64) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        count.fetch_add(n as u64, Ordering::Relaxed);
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    // Where it is closed already, there is nothing to close.
    let _ = to.shutdown(Shutdown::Write);
}
