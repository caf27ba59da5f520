//! A server in a process of its own, to be killed and to be measured.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use futures_util::future;
use registryd::{
    Server,
    storage::{Durability, FsStorage},
};

const DIRECTORY: &str = "REGISTRYD_TEST_DIRECTORY";

/// What the other process runs: does nothing when it is run as one of the tests.
#[tokio::test(flavor = "multi_thread")]
async fn serve() {
    let Some(directory) = env::var_os(DIRECTORY) else {
        return;
    };
    let storage = FsStorage::with_durability(directory, Durability::ProcessCrash).unwrap();
    let server = Server::builder(storage).bind("127.0.0.1:0").await.unwrap();
    println!("\nlistening {}", server.addr());
    future::pending::<()>().await;
}

/// Killed when dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) address: SocketAddr,
    /// Kept open: the test harness ends the process when it cannot say that a test takes long.
    _output: BufReader<ChildStdout>,
}

impl Process {
    pub(crate) fn start(directory: &Path) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["process::serve", "--exact", "--nocapture"])
            .env(DIRECTORY, directory)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let address = loop {
            let mut line = String::new();
            let len = output.read_line(&mut line).unwrap();
            assert_ne!(len, 0, "the server says where it listens");
            if let Some(address) = line.trim().strip_prefix("listening ") {
                break address.parse().unwrap();
            }
        };
        Self {
            child,
            address,
            _output: output,
        }
    }

    /// The largest resident memory so far, in MiB.
    pub(crate) fn peak(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.unwrap().trim().strip_suffix(" kB").unwrap();
        peak.parse::<u64>().unwrap() / 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL.
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
