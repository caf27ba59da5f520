//! Registries in processes of their own.

use std::{
    env, fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{WORKER, http::Http};
use crate::{Result, measure::median};

/// A registry, not running.
pub(super) struct Contender {
    pub(super) name: &'static str,
    /// Words with `{host}`, `{port}`, `{dir}` and `{config}` in them.
    command: Vec<String>,
}

/// A registry that runs.
pub(super) struct Running {
    pub(super) host: String,
    data: PathBuf,
    child: Child,
}

impl Contender {
    pub(super) fn us() -> Result<Self> {
        let exe = env::current_exe()?.display().to_string();
        Ok(Self {
            name: "registryd",
            command: [exe.as_str(), WORKER, "{dir}", "{host}"]
                .map(str::to_owned)
                .into(),
        })
    }

    pub(super) fn docker_registry() -> Self {
        Self {
            name: "docker-registry",
            command: ["docker-registry", "serve", "{config}"]
                .map(str::to_owned)
                .into(),
        }
    }

    /// What `PEER_REGISTRY` names: a path, or a command line with placeholders.
    pub(super) fn from_env() -> Result<Option<Self>> {
        let Ok(text) = env::var("PEER_REGISTRY") else {
            return Ok(None);
        };
        let mut command: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        if let [program] = &command[..] {
            let arguments = match Path::new(program)
                .file_name()
                .and_then(|name| name.to_str())
            {
                Some(name) if name.contains("olareg") => {
                    vec![
                        "serve",
                        "--port",
                        "{port}",
                        "--store-type",
                        "dir",
                        "--dir",
                        "{dir}",
                    ]
                }
                Some(name) if name.contains("registry") => vec!["serve", "{config}"],
                _ => return Err("PEER_REGISTRY: give the whole command, with {port}, {dir}".into()),
            };
            command.extend(arguments.into_iter().map(str::to_owned));
        }
        Ok(Some(Self {
            name: "PEER_REGISTRY",
            command,
        }))
    }

    /// Starts it and waits for its first answer.
    pub(super) fn start(&self, work: &Path) -> Result<Running> {
        let host = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let port = host.rsplit(':').next().unwrap_or_default().to_owned();
        let (config, folder) = (work.join("config.yml"), work.join("data"));
        let data = folder.display().to_string();
        let text = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage:\n  \
             filesystem: {{rootdirectory: {data}}}\nhttp:\n  addr: {host}\n",
        );
        fs::write(&config, text)?;
        let config = config.display().to_string();
        let mut words = self.command.iter().map(|word| {
            word.replace("{host}", &host)
                .replace("{port}", &port)
                .replace("{dir}", &data)
                .replace("{config}", &config)
        });
        let program = words.next().ok_or("PEER_REGISTRY is empty")?;
        let child = Command::new(&program)
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("{program}: {error}"))?;
        let server = Running {
            host,
            data: folder,
            child,
        };
        let start = Instant::now();
        while Http::connect(&server.host)
            .and_then(|mut http| http.ping())
            .is_err()
        {
            if start.elapsed() > Duration::from_secs(30) {
                return Err(format!("{} does not answer", self.name).into());
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(server)
    }

    /// Milliseconds from its start, on an empty directory, to its first answer.
    pub(super) fn start_time(&self, work: &Path, count: usize) -> Result<f64> {
        let mut times = Vec::new();
        for _ in 0..=count {
            fs::create_dir_all(work)?;
            let begin = Instant::now();
            let server = self.start(work)?;
            times.push(begin.elapsed().as_secs_f64() * 1e3);
            drop(server);
            fs::remove_dir_all(work)?;
        }
        // The first one warms up.
        Ok(median(times.into_iter().skip(1)))
    }
}

impl Running {
    /// Removes blobs of `len` bytes behind its back, so that not all that is pushed fills the
    /// memory in which its data lies.
    pub(super) fn forget(&self, len: u64) -> Result<()> {
        remove_of_size(&self.data, len)
    }

    /// Seconds of processor time so far, user and system.
    pub(super) fn cpu(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name, in parentheses, may hold spaces. Linux counts in hundredths (`USER_HZ`).
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks.map(str::parse::<u64>).sum::<Result<_, _>>()?;
        Ok(ticks as f64 / 100.0)
    }

    /// The largest resident set so far, in bytes.
    pub(super) fn peak(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|peak| peak.trim().strip_suffix(" kB"));
        Ok(peak.ok_or("no VmHWM")?.trim().parse::<u64>()? * 1024)
    }
}

fn remove_of_size(folder: &Path, len: u64) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let found = entry.metadata()?;
        if found.is_dir() {
            remove_of_size(&entry.path(), len)?;
        } else if found.len() == len {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself, and then there is nothing to stop.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
