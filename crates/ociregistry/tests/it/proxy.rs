//! A proxy in front of a real server that breaks what passes through it.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::{TlsConnector, rustls::ClientConfig, rustls::pki_types::ServerName};

/// What happens to one request or its answer.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// The server never sees the request; this is the answer: head and body. `{n}` is how many
    /// requests of this kind came before.
    Instead(String),
    /// Likewise, and what follows is a gigabyte of spaces.
    Huge(&'static str),
    /// The server never hears who asks, nor the body.
    Anonymous,
    /// The answer's `Location` has no host.
    Relative,
    /// So many bytes of the request's body reach the server, then both connections break.
    CutRequest(usize),
    /// The server does what it is asked for, but nobody hears of it.
    LoseAnswer,
    /// So many bytes of the answer's body come, then the connection breaks.
    CutAnswer(usize),
    /// One bit of the answer's body is another.
    FlipBit(usize),
    /// A field of the answer's head is another: name and value.
    Field(&'static str, String),
    /// One byte of the answer at a time, with pauses.
    Trickle,
}

/// A request as the proxy shows it to whoever decides about faults.
#[derive(Clone, Debug)]
pub(crate) struct Passing {
    pub(crate) method: String,
    pub(crate) target: String,
}

/// A proxy without TLS to a server with or without it.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) host: String,
    seen: Arc<Mutex<Vec<String>>>,
    load: Arc<Load>,
    task: JoinHandle<()>,
}

/// Requests that are not answered yet.
#[derive(Debug, Default)]
struct Load {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// One of them.
struct Pending<'a>(&'a Load);

impl<'a> Pending<'a> {
    fn new(load: &'a Load) -> Self {
        let now = load.now.fetch_add(1, Ordering::Relaxed) + 1;
        load.most.fetch_max(now, Ordering::Relaxed);
        Self(load)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How to reach the server.
#[derive(Clone)]
pub(crate) struct Upstream {
    pub(crate) host: String,
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

impl Proxy {
    /// `fault` is told of each request and how many of its kind (method and the target's shape)
    /// came before.
    pub(crate) async fn new(
        upstream: Upstream,
        fault: impl Fn(&Passing, usize) -> Fault + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (fault, all) = (Arc::new(fault), Arc::clone(&seen));
        let load = Arc::new(Load::default());
        let pending = Arc::clone(&load);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (fault, all, upstream) =
                    (Arc::clone(&fault), Arc::clone(&all), upstream.clone());
                let pending = Arc::clone(&pending);
                connections.spawn(async move {
                    let decide = move |passing: &Passing| {
                        let mut all = all.lock().unwrap();
                        let kind = kind(passing);
                        let before = all.iter().filter(|known| **known == kind).count();
                        all.push(kind);
                        match fault(passing, before) {
                            Fault::Instead(text) => {
                                Fault::Instead(text.replace("{n}", &before.to_string()))
                            }
                            fault => fault,
                        }
                    };
                    serve(client, &upstream, &pending, decide).await
                });
            }
        });
        Self {
            host,
            seen,
            load,
            task,
        }
    }

    /// The kinds of all requests since the last look.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    /// How many requests were unanswered at the same time at most.
    pub(crate) fn most(&self) -> usize {
        self.load.most.load(Ordering::Relaxed)
    }

    /// Requests of one kind, as `PUT blob`.
    pub(crate) fn count(&self, kind: &str) -> usize {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|known| *known == kind).count()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Method, and what it is about.
pub(crate) fn kind(passing: &Passing) -> String {
    let noun = match &*passing.target {
        target if target.contains("/blobs/uploads/") => "upload",
        target if target.contains("/blobs/") => "blob",
        target if target.contains("/manifests/") => "manifest",
        target if target.contains("/referrers/") => "referrers",
        target if target.contains("/tags/list") => "tags",
        _ => "other",
    };
    format!("{} {noun}", passing.method)
}

/// Requests of one connection, one after the other; ends when either side does.
async fn serve(
    client: TcpStream,
    upstream: &Upstream,
    load: &Load,
    mut decide: impl FnMut(&Passing) -> Fault,
) -> Option<()> {
    let mut client = BufReader::new(client);
    loop {
        let (mut head, length) = read_head(&mut client).await?;
        let _pending = Pending::new(load);
        let mut words = head.split(' ');
        let passing = Passing {
            method: words.next()?.to_owned(),
            target: words.next()?.to_owned(),
        };
        let mut body = vec![0; length];
        client.read_exact(&mut body).await.ok()?;
        let fault = decide(&passing);
        match &fault {
            Fault::Instead(answer) => {
                client.write_all(answer.as_bytes()).await.ok()?;
                continue;
            }
            Fault::Huge(status) => {
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", 1 << 30);
                client.write_all(head.as_bytes()).await.ok()?;
                for _ in 0..1 << 14 {
                    client.write_all(&[b' '; 1 << 16]).await.ok()?;
                }
                continue;
            }
            // Who refuses need not read what would come, and may close while it comes.
            Fault::Anonymous => {
                let rest = without(&without(&head, "authorization"), "content-length");
                head = format!("{}\r\ncontent-length: 0\r\n\r\n", rest.trim_end());
                body.clear();
            }
            _ => {}
        }
        if let Fault::CutRequest(at) = fault {
            body.truncate(at);
            // The announced length stays, so that the server knows that it was cut.
            ask(upstream, &head, &body).await;
            return None;
        }
        let answer = ask(upstream, &head, &body).await?;
        let (head, mut body) = split(&answer, upstream)?;
        match fault {
            Fault::LoseAnswer => return None,
            Fault::CutAnswer(at) => {
                client.write_all(head.as_bytes()).await.ok()?;
                client.write_all(&body[..at.min(body.len())]).await.ok()?;
                return None;
            }
            Fault::Trickle => {
                client.write_all(head.as_bytes()).await.ok()?;
                for byte in body.chunks(1) {
                    client.write_all(byte).await.ok()?;
                    client.flush().await.ok()?;
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
                continue;
            }
            Fault::FlipBit(at) => {
                if let Some(byte) = body.get_mut(at) {
                    *byte ^= 1;
                }
                client.write_all(head.as_bytes()).await.ok()?;
            }
            Fault::Field(name, value) => {
                let rest = without(&head, name);
                let head = format!("{}\r\n{name}: {value}\r\n\r\n", rest.trim_end());
                client.write_all(head.as_bytes()).await.ok()?;
            }
            Fault::Relative => {
                let absolute = head.split("\r\n").find_map(|line| {
                    let (name, value) = line.split_once(": ")?;
                    name.eq_ignore_ascii_case("location").then_some(value)
                })?;
                let (_, path) = absolute.split_once("://").unwrap_or(("", absolute));
                let path = &path[path.find('/')?..];
                let rest = without(&head, "location");
                let head = format!("{}\r\nlocation: {path}\r\n\r\n", rest.trim_end());
                client.write_all(head.as_bytes()).await.ok()?;
            }
            _ => client.write_all(head.as_bytes()).await.ok()?,
        }
        client.write_all(&body).await.ok()?;
    }
}

/// A head without one of its fields.
fn without(head: &str, name: &str) -> String {
    let kept = |line: &&str| {
        let field = line.split_once(':').map_or("", |(field, _)| field);
        !field.eq_ignore_ascii_case(name)
    };
    let lines: Vec<&str> = head.trim_end().lines().filter(kept).collect();
    lines.join("\r\n") + "\r\n\r\n"
}

/// The head of a request without what is about the connection, and the length of its body.
async fn read_head(client: &mut BufReader<TcpStream>) -> Option<(String, usize)> {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        client.read_line(&mut line).await.ok().filter(|n| *n > 0)?;
        if line == "\r\n" {
            return Some((head + "connection: close\r\n\r\n", length));
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok()?;
        }
        head += &line;
    }
}

/// The server's whole answer.
async fn ask(upstream: &Upstream, head: &str, body: &[u8]) -> Option<Vec<u8>> {
    let stream = TcpStream::connect(&upstream.host).await.ok()?;
    match &upstream.tls {
        None => exchange(stream, head, body).await,
        Some(config) => {
            let name = ServerName::try_from("127.0.0.1").ok()?;
            let connector = TlsConnector::from(Arc::clone(config));
            exchange(connector.connect(name, stream).await.ok()?, head, body).await
        }
    }
}

async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    head: &str,
    body: &[u8],
) -> Option<Vec<u8>> {
    stream.write_all(head.as_bytes()).await.ok()?;
    stream.write_all(body).await.ok()?;
    stream.flush().await.ok()?;
    let mut answer = Vec::new();
    // Who was promised a longer body would wait for it; who has answered closes.
    let promised = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, length)| length.trim().parse().ok());
    if promised.unwrap_or(0) > body.len() {
        stream.shutdown().await.ok()?;
        return None;
    }
    // Not each server ends TLS as it should.
    let _ = stream.read_to_end(&mut answer).await;
    (!answer.is_empty()).then_some(answer)
}

/// Head and body of an answer; the client may keep its connection, and never hears of TLS.
fn split(answer: &[u8], upstream: &Upstream) -> Option<(String, Vec<u8>)> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let is_kept = |line: &&str| !line.to_ascii_lowercase().starts_with("connection:");
    let mut head = head
        .lines()
        .filter(is_kept)
        .collect::<Vec<_>>()
        .join("\r\n");
    if upstream.tls.is_some() {
        head = head.replace("https://127.0.0.1", "http://127.0.0.1");
    }
    Some((head + "\r\n\r\n", answer[end + 4..].to_vec()))
}
