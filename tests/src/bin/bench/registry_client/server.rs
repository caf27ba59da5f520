//! The registries that are pushed to and pulled from.

use std::{
    env, fs,
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::worker::WORKER;
use crate::Result;

/// A registry in a process of its own, with its content in memory.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) name: &'static str,
    pub(super) host: String,
    child: Child,
}

impl Server {
    /// Debian's docker-registry, logging as little as it can.
    pub(super) fn docker_registry(work: &Path) -> Result<Self> {
        let host = free_address()?;
        let config = work.join("config.yml");
        let data = work.join("docker-registry");
        let text = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage:\n  \
             filesystem: {{rootdirectory: {}}}\nhttp:\n  addr: {host}\n",
            data.display()
        );
        fs::write(&config, text)?;
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config);
        Self::start("docker-registry", host, command)
            .map_err(|error| format!("docker-registry (apt install docker-registry): {error}"))
            .map_err(Into::into)
    }

    /// Our own.
    pub(super) fn registryd(work: &Path) -> Result<Self> {
        let host = free_address()?;
        let mut command = Command::new(env::current_exe()?);
        command
            .args([WORKER, "serve"])
            .arg(work.join("registryd"))
            .arg(&host);
        Self::start("registryd", host, command)
    }

    fn start(name: &'static str, host: String, mut command: Command) -> Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let server = Self { name, host, child };
        let start = Instant::now();
        while TcpStream::connect(&server.host).is_err() {
            if start.elapsed() > Duration::from_secs(30) {
                return Err(format!("{name} does not answer").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, and then there is nothing to stop.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_address() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}
