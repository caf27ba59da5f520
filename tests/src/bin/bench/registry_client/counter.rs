//! Counts the requests that reach a server, and their bytes: a proxy that reads the frames of
//! HTTP/1.1 and changes nothing.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

use crate::Result;

/// Longest head of a request.
const LONGEST_HEAD: usize = 64 << 10;

/// A proxy to one server.
#[derive(Debug)]
pub(super) struct Counter {
    pub(super) host: String,
    counts: Arc<Counts>,
    task: JoinHandle<()>,
}

/// What came by since the last look.
#[derive(Debug, Default)]
struct Counts {
    requests: AtomicU64,
    /// Of their bodies.
    bytes: AtomicU64,
    /// Connections whose requests could not be read; what they did was not counted.
    unreadable: AtomicU64,
}

impl Counter {
    pub(super) async fn start(server: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let host = listener.local_addr()?.to_string();
        let (counts, server) = (Arc::new(Counts::default()), server.to_owned());
        let shared = Arc::clone(&counts);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (server, counts) = (server.clone(), Arc::clone(&shared));
                connections.spawn(async move {
                    // A connection that breaks is the business of those at its ends.
                    let _ = pass(client, &server, &counts).await;
                });
            }
        });
        Ok(Self { host, counts, task })
    }

    /// Requests, and bytes of their bodies, since the last call.
    pub(super) fn take(&self) -> Result<(u64, u64)> {
        if self.counts.unreadable.load(Ordering::Relaxed) > 0 {
            return Err("a client does not speak HTTP/1.1".into());
        }
        let take = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        Ok((take(&self.counts.requests), take(&self.counts.bytes)))
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(client: TcpStream, server: &str, counts: &Counts) -> Result<()> {
    client.set_nodelay(true)?;
    let server = TcpStream::connect(server).await?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async {
        let (mut frames, mut buffer) = (Frames::default(), vec![0; 256 << 10]);
        loop {
            let n = from_client.read(&mut buffer).await?;
            if n == 0 {
                to_server.shutdown().await?;
                return Ok::<(), std::io::Error>(());
            }
            let seen = frames.read(&buffer[..n]);
            counts.requests.fetch_add(seen.requests, Ordering::Relaxed);
            counts.bytes.fetch_add(seen.bytes, Ordering::Relaxed);
            if frames.at == At::Lost {
                counts.unreadable.fetch_add(1, Ordering::Relaxed);
            }
            to_server.write_all(&buffer[..n]).await?;
        }
    };
    let down = async {
        tokio::io::copy(&mut from_server, &mut to_client).await?;
        to_client.shutdown().await?;
        Ok::<(), std::io::Error>(())
    };
    futures_util::future::try_join(up, down).await?;
    Ok(())
}

/// Where a connection is in its requests.
#[derive(Debug, Default)]
struct Frames {
    at: At,
    /// The head or line so far.
    text: Vec<u8>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Head,
    Body(u64),
    ChunkSize,
    /// Bytes of a chunk, with the end of its line.
    Chunk(u64),
    Trailer,
    /// No HTTP/1.1.
    Lost,
}

#[derive(Debug, Default)]
struct Seen {
    requests: u64,
    bytes: u64,
}

impl Frames {
    fn read(&mut self, mut bytes: &[u8]) -> Seen {
        let mut seen = Seen::default();
        while !bytes.is_empty() {
            match &mut self.at {
                At::Lost => return seen,
                At::Body(left) | At::Chunk(left) => {
                    let n = usize::try_from(*left).map_or(bytes.len(), |l| l.min(bytes.len()));
                    *left -= n as u64;
                    seen.bytes += n as u64;
                    bytes = &bytes[n..];
                    self.leave();
                }
                At::Head | At::ChunkSize | At::Trailer => {
                    self.text.push(bytes[0]);
                    bytes = &bytes[1..];
                    if self.text.ends_with(b"\n") || self.text.len() > LONGEST_HEAD {
                        seen.requests += self.line();
                        self.leave();
                    }
                }
            }
        }
        seen
    }

    /// A line has ended. Returns how many requests have begun with it.
    fn line(&mut self) -> u64 {
        let text = String::from_utf8_lossy(&self.text).into_owned();
        match self.at {
            At::Head if text.ends_with("\r\n\r\n") => {
                self.text.clear();
                let field = |name: &str| {
                    let mut fields = text.lines().skip(1).filter_map(|line| line.split_once(':'));
                    fields
                        .find(|(key, _)| key.eq_ignore_ascii_case(name))
                        .map(|(_, value)| value.trim().to_owned())
                };
                let length = field("content-length").map_or(Ok(0), |length| length.parse());
                self.at = match (field("transfer-encoding"), length) {
                    _ if !text.lines().next().unwrap_or("").ends_with("HTTP/1.1") => At::Lost,
                    (Some(_), _) => At::ChunkSize,
                    (None, Ok(length)) => At::Body(length),
                    (None, Err(_)) => At::Lost,
                };
                return 1;
            }
            At::Head if text.len() <= LONGEST_HEAD => {}
            At::ChunkSize => {
                self.text.clear();
                let size = text.trim().split(';').next().unwrap_or_default();
                self.at = match u64::from_str_radix(size, 16) {
                    Ok(0) => At::Trailer,
                    Ok(size) => At::Chunk(size + 2),
                    Err(_) => At::Lost,
                };
            }
            At::Trailer => {
                self.text.clear();
                if text == "\r\n" {
                    self.at = At::Head;
                }
            }
            _ => self.at = At::Lost,
        }
        0
    }

    /// What has ended is followed by the next.
    fn leave(&mut self) {
        match self.at {
            At::Body(0) => self.at = At::Head,
            At::Chunk(0) => self.at = At::ChunkSize,
            _ => {}
        }
    }
}
