//! A server in a process of its own, to be killed and to be measured.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::Arc,
};

use futures_util::future;
use registryd::{
    Server, gc,
    storage::{Durability, FsStorage, Storage},
};

use crate::collect::{GRACE, HOUR, after};

const DIRECTORY: &str = "REGISTRYD_TEST_DIRECTORY";
const DURABLE: &str = "REGISTRYD_TEST_DURABLE";

/// What the other process runs: does nothing when it is run as one of the tests.
#[tokio::test(flavor = "multi_thread")]
async fn serve() {
    let Some(directory) = env::var_os(DIRECTORY) else {
        return;
    };
    let durability = match env::var_os(DURABLE) {
        Some(_) => Durability::PowerLoss,
        None => Durability::ProcessCrash,
    };
    let storage = FsStorage::with_durability(directory, durability).unwrap();
    let server = Server::builder(storage).bind("127.0.0.1:0").await.unwrap();
    println!("\nlistening {}", server.addr());
    future::pending::<()>().await;
}

/// The same for a process that collects garbage again and again. It lives two hours ahead, so that
/// it thinks whoever was killed before it dead.
#[tokio::test(flavor = "multi_thread")]
async fn collect() {
    let Some(directory) = env::var_os(DIRECTORY) else {
        return;
    };
    let storage = FsStorage::with_durability(directory, Durability::ProcessCrash).unwrap();
    let storage: Arc<dyn Storage> = Arc::new(storage);
    let options = gc::Options::default()
        .grace(GRACE + HOUR * 2)
        .untagged(GRACE + HOUR * 2);
    let cx = after(HOUR * 2);
    println!("\ncollecting");
    loop {
        let plan = gc::plan(&cx, &storage, &options).await.unwrap();
        gc::run(&cx, &storage, &plan).await.unwrap();
    }
}

/// Killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pub(crate) address: SocketAddr,
    /// Kept open: the test harness ends the process when it cannot say that a test takes long.
    _output: BufReader<ChildStdout>,
}

impl Process {
    pub(crate) fn start(directory: &Path) -> Self {
        let this = Command::new(env::current_exe().unwrap());
        Self::run(this, "process::serve", directory)
    }

    /// One that waits for the disk, with `tool` around it.
    pub(crate) fn durable(mut tool: Command, directory: &Path) -> Self {
        tool.arg(env::current_exe().unwrap()).env(DURABLE, "1");
        Self::run(tool, "process::serve", directory)
    }

    /// One that collects garbage. It serves nothing.
    pub(crate) fn collector(directory: &Path) -> Self {
        let this = Command::new(env::current_exe().unwrap());
        Self::run(this, "process::collect", directory)
    }

    fn run(mut command: Command, role: &str, directory: &Path) -> Self {
        let mut child = command
            .args([role, "--exact", "--nocapture"])
            .env(DIRECTORY, directory)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let address = loop {
            let mut line = String::new();
            let len = output.read_line(&mut line).unwrap();
            assert_ne!(len, 0, "the process says that it is there");
            match line.trim() {
                "collecting" => break SocketAddr::from(([127, 0, 0, 1], 0)),
                line => {
                    if let Some(address) = line.strip_prefix("listening ") {
                        break address.parse().unwrap();
                    }
                }
            }
        };
        Self {
            child,
            address,
            _output: output,
        }
    }

    /// Resident memory now, in KiB.
    pub(crate) fn resident(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The largest resident memory so far, in MiB.
    pub(crate) fn peak(&self) -> u64 {
        self.memory("VmHWM:") / 1024
    }

    fn memory(&self, line: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let size = status.lines().find_map(|found| found.strip_prefix(line));
        let size = size.unwrap().trim().strip_suffix(" kB").unwrap();
        size.parse().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL.
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
