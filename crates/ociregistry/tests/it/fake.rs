//! A server that says what a test wants it to say, byte by byte.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpListener,
    sync::Semaphore,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Method and target.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }
}

/// What the server does with a request.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    length: Option<u64>,
    body: Vec<u8>,
    end: End,
}

/// What follows the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    KeepAlive,
    Close,
    Hang,
    Endless,
    Drop,
}

impl Reply {
    pub(crate) fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            length: None,
            body: Vec::new(),
            end: End::KeepAlive,
        }
    }

    pub(crate) fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// An error as the specification wants it.
    pub(crate) fn error(status: u16, code: &str, message: &str) -> Self {
        let body = serde_json::json!({"errors": [{"code": code, "message": message}]});
        Self::new(status).body(body.to_string())
    }

    /// Announces another length than the body has.
    pub(crate) fn length(mut self, length: u64) -> Self {
        self.length = Some(length);
        self
    }

    /// Announces the whole body and closes after `bytes` of it.
    pub(crate) fn cut(mut self, bytes: usize) -> Self {
        self.length = Some(self.body.len() as u64);
        self.body.truncate(bytes);
        self.end = End::Close;
        self
    }

    /// Closes the connection without an answer.
    pub(crate) fn none() -> Self {
        Self {
            end: End::Drop,
            ..Self::new(200)
        }
    }

    /// Goes silent after the body, of which more was announced.
    pub(crate) fn hang(mut self) -> Self {
        self.end = End::Hang;
        self
    }

    /// Sends without end after the body, or until all that was announced is there.
    pub(crate) fn endless(mut self) -> Self {
        self.end = End::Endless;
        self
    }
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Fake {
    pub(crate) host: String,
    seen: Arc<Mutex<Vec<Request>>>,
    /// One permit for each connection that its client closed while the server was silent.
    closed: Arc<Semaphore>,
    /// Bytes that were sent without end.
    flood: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Fake {
    /// Answers each request by `reply`, which is told how many there were before.
    pub(crate) async fn new(
        reply: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::deaf("", reply).await
    }

    /// As [`Fake::new`], but of requests of one method it takes the head only.
    pub(crate) async fn deaf(
        method: &'static str,
        reply: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::start(method, None, reply).await
    }

    /// As [`Fake::new`], with TLS.
    pub(crate) async fn secured(
        tls: TlsAcceptor,
        reply: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::start("", Some(tls), reply).await
    }

    async fn start(
        method: &'static str,
        tls: Option<TlsAcceptor>,
        reply: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (reply, all) = (Arc::new(reply), Arc::clone(&seen));
        let closed = Arc::new(Semaphore::new(0));
        let closing = Arc::clone(&closed);
        let flood = Arc::new(AtomicU64::new(0));
        let flooding = Arc::clone(&flood);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (reply, all) = (Arc::clone(&reply), Arc::clone(&all));
                let reply = move |request: Request| {
                    let mut all = all.lock().unwrap();
                    let reply = reply(&request, all.len());
                    all.push(request);
                    reply
                };
                let (closing, flooding) = (Arc::clone(&closing), Arc::clone(&flooding));
                let tls = tls.clone();
                connections.spawn(async move {
                    let Some(tls) = tls else {
                        return serve(stream, method, closing, flooding, reply).await;
                    };
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(stream, method, closing, flooding, reply).await;
                    }
                });
            }
        });
        Self {
            host,
            seen,
            closed,
            flood,
            task,
        }
    }

    /// Waits until the client has closed a connection on which the server is silent.
    pub(crate) async fn closed(&self) {
        self.closed.acquire().await.unwrap().forget();
    }

    /// Bytes of all [`Reply::endless`] that the sockets took so far.
    pub(crate) fn flood(&self) -> u64 {
        self.flood.load(Ordering::Relaxed)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    /// Methods and targets of all requests.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.requests().iter().map(Request::line).collect()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    deaf: &str,
    closed: Arc<Semaphore>,
    flood: Arc<AtomicU64>,
    mut reply: impl FnMut(Request) -> Reply,
) {
    let mut stream = BufReader::new(stream);
    while let Some(mut request) = read_head(&mut stream).await {
        if request.method == deaf {
            reply(request);
            return std::future::pending().await;
        }
        let length = request.header("content-length").map(str::parse);
        request.body = vec![0; length.map_or(0, Result::unwrap)];
        if stream.read_exact(&mut request.body).await.is_err() {
            return;
        }
        let is_head = request.method == "HEAD";
        let reply = reply(request);
        if reply.end == End::Drop {
            return;
        }
        let length = reply.length.unwrap_or(reply.body.len() as u64);
        let mut text = format!("HTTP/1.1 {} X\r\n", reply.status);
        for (name, value) in &reply.headers {
            write!(text, "{name}: {value}\r\n").unwrap();
        }
        if reply.end != End::Endless || reply.length.is_some() {
            write!(text, "content-length: {length}\r\n").unwrap();
        }
        let mut bytes = (text + "\r\n").into_bytes();
        if !is_head {
            bytes.extend_from_slice(&reply.body);
        }
        let mut written = stream.write_all(&bytes).await;
        match reply.end {
            End::KeepAlive => {}
            End::Close | End::Drop => return,
            End::Hang => {
                let mut rest = [0; 1024];
                while stream.read(&mut rest).await.is_ok_and(|n| n > 0) {}
                closed.add_permits(1);
                return;
            }
            End::Endless => {
                let mut left = reply.length.unwrap_or(u64::MAX) - reply.body.len() as u64;
                while written.is_ok() && left > 0 {
                    let piece = &[b'x'; 65536][..left.min(65536) as usize];
                    written = stream.write_all(piece).await;
                    left -= piece.len() as u64;
                    flood.fetch_add(piece.len() as u64, Ordering::Relaxed);
                }
            }
        }
        if written.is_err() {
            return;
        }
    }
}

/// The next request of a connection, but for its body; none at its end, or if it breaks.
async fn read_head(stream: &mut (impl AsyncBufReadExt + Unpin)) -> Option<Request> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|n| *n > 0)?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    Some(Request {
        method,
        target,
        headers,
        body: Vec::new(),
    })
}
