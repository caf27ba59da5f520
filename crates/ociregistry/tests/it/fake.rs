//! A server that says what a test wants it to say, byte by byte.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

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

    /// Sends without end after the body.
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
    task: JoinHandle<()>,
}

impl Fake {
    /// Answers each request by `reply`, which is told how many there were before.
    pub(crate) async fn new(
        reply: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (reply, all) = (Arc::new(reply), Arc::clone(&seen));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (reply, all) = (Arc::clone(&reply), Arc::clone(&all));
                connections.spawn(serve(stream, move |request: Request| {
                    let mut all = all.lock().unwrap();
                    let reply = reply(&request, all.len());
                    all.push(request);
                    reply
                }));
            }
        });
        Self { host, seen, task }
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

async fn serve(stream: TcpStream, mut reply: impl FnMut(Request) -> Reply) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await {
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
        if reply.end != End::Endless {
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
            End::Hang => std::future::pending().await,
            End::Endless => {
                while written.is_ok() {
                    written = stream.write_all(&[b'x'; 65536]).await;
                }
            }
        }
        if written.is_err() {
            return;
        }
    }
}

/// The next request of a connection; none at its end, or if it breaks.
async fn read(stream: &mut BufReader<TcpStream>) -> Option<Request> {
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
    let length = headers.get("content-length").and_then(|n| n.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.ok()?;
    Some(Request {
        method,
        target,
        headers,
        body,
    })
}
