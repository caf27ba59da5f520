//! A server of HTTP/1.1 that does what a test tells it to, and remembers what it was asked for.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) method: String,
    /// With its query.
    pub(super) path: String,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

/// An answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// After so many bytes of the body the connection ends.
    cut: Option<usize>,
    /// After them nothing more comes.
    stall: Option<usize>,
}

pub(super) struct Server {
    pub(super) base: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The first byte that is asked for.
    pub(super) fn from(&self) -> usize {
        let range = self
            .header("range")
            .and_then(|range| range.strip_prefix("bytes="));
        range.map_or(0, |range| range.trim_end_matches('-').parse().unwrap())
    }
}

impl Answer {
    pub(super) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            body: body.into(),
            ..Self::default()
        }
    }

    pub(super) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(super) fn cut(mut self, at: usize) -> Self {
        self.cut = Some(at);
        self
    }

    pub(super) fn stall(mut self, at: usize) -> Self {
        self.stall = Some(at);
        self
    }

    /// Content from where it is asked for on.
    pub(super) fn part(content: &[u8], asked: &Asked) -> Self {
        match asked.from() {
            0 => Self::new(200, content),
            from => {
                let (last, size) = (content.len() - 1, content.len());
                let range = format!("bytes {from}-{last}/{size}");
                Self::new(206, &content[from..]).with("content-range", range)
            }
        }
    }
}

impl Server {
    /// A server on a free port. `answer` gets the requests and how many there were before with the
    /// same path.
    pub(super) async fn start(
        answer: impl Fn(&Asked, usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::<Asked>::new()));
        let answer = Arc::new(answer);
        let log = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    return;
                };
                let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
                let respond = move |asked: Asked| {
                    let mut log = log.lock().unwrap();
                    let before = log.iter().filter(|one| one.path == asked.path).count();
                    log.push(asked.clone());
                    answer(&asked, before)
                };
                tokio::spawn(serve(stream, respond));
            }
        });
        Self { base, asked, task }
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Methods and paths, in the order in which they came.
    pub(super) fn lines(&self) -> Vec<String> {
        let asked = self.asked();
        asked
            .iter()
            .map(|one| format!("{} {}", one.method, one.path))
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers requests of one connection, one after the other, until it ends in whatever way.
async fn serve(stream: TcpStream, respond: impl Fn(Asked) -> Answer) {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    while let Some(asked) = request(&mut read).await {
        let is_head = asked.method == "HEAD";
        let answer = respond(asked);
        let mut head = format!("HTTP/1.1 {} X\r\n", answer.status);
        for (name, value) in &answer.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("content-length: {}\r\n\r\n", answer.body.len());
        let end = answer.cut.or(answer.stall).unwrap_or(answer.body.len());
        let body: &[u8] = if is_head { &[] } else { &answer.body[..end] };
        let sent = write.write_all(&[head.as_bytes(), body].concat()).await;
        if sent.is_err() || answer.cut.is_some() {
            return;
        }
        if answer.stall.is_some() {
            std::future::pending::<()>().await;
        }
    }
}

async fn request(read: &mut (impl AsyncBufReadExt + Unpin)) -> Option<Asked> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if read.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        lines.push(line.to_owned());
    }
    let mut first = lines.first()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<_> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = vec![0; length];
    read.read_exact(&mut body).await.ok()?;
    Some(Asked {
        method,
        path,
        headers,
        body,
    })
}
