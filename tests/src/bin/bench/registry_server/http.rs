//! As little of an HTTP client as can be, so that the servers are measured.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use sha2::{Digest as _, Sha256};

use crate::Result;

/// Longest wait for a byte.
const PATIENCE: Duration = Duration::from_secs(60);

/// One connection.
pub(super) struct Http {
    wire: BufReader<TcpStream>,
    host: String,
}

/// The head of an answer.
struct Answer {
    status: u16,
    length: usize,
    location: String,
}

impl Http {
    pub(super) fn connect(host: &str) -> Result<Self> {
        let wire = TcpStream::connect(host)?;
        wire.set_nodelay(true)?;
        wire.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            wire: BufReader::with_capacity(256 << 10, wire),
            host: host.to_owned(),
        })
    }

    pub(super) fn ping(&mut self) -> Result<()> {
        self.request("GET", "/v2/", "", 0, |_| Ok(()))?;
        Ok(())
    }

    /// Pushes a blob as one stream, as Docker does: `POST`, `PATCH`, `PUT`.
    pub(super) fn push(
        &mut self,
        len: u64,
        digest: &str,
        body: impl FnOnce(&mut TcpStream) -> io::Result<()>,
    ) -> Result<()> {
        let begun = self.request("POST", "/v2/bench/app/blobs/uploads/", "", 0, |_| Ok(()))?;
        let kind = "Content-Type: application/octet-stream\r\n";
        let sent = self.request("PATCH", &path(&begun.location), kind, len, body)?;
        let end = path(&sent.location);
        let mark = if end.contains('?') { '&' } else { '?' };
        self.request("PUT", &format!("{end}{mark}digest={digest}"), "", 0, |_| {
            Ok(())
        })?;
        Ok(())
    }

    pub(super) fn put(&mut self, path: &str, kind: &str, body: &[u8]) -> Result<()> {
        let kind = format!("Content-Type: {kind}\r\n");
        self.request("PUT", path, &kind, body.len() as u64, |wire| {
            wire.write_all(body)
        })?;
        Ok(())
    }

    /// Seconds that a blob of `len` bytes takes.
    pub(super) fn download(&mut self, path: &str, len: usize) -> Result<f64> {
        let start = Instant::now();
        let answer = self.request("GET", path, "", 0, |_| Ok(()))?;
        if answer.length != len {
            return Err(format!("{path} has {} bytes, expected {len}", answer.length).into());
        }
        Ok(start.elapsed().as_secs_f64())
    }

    /// Sends a request and reads the answer to its end.
    fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        len: u64,
        body: impl FnOnce(&mut TcpStream) -> io::Result<()>,
    ) -> Result<Answer> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {len}\r\n{headers}\r\n",
            self.host
        );
        self.wire.get_mut().write_all(head.as_bytes())?;
        body(self.wire.get_mut())?;
        let answer = self.head()?;
        // Dropped from the buffer, not copied.
        let mut left = answer.length;
        while left > 0 {
            let here = self.wire.fill_buf()?.len().min(left);
            if here == 0 {
                return Err("the answer broke off".into());
            }
            self.wire.consume(here);
            left -= here;
        }
        if !(200..300).contains(&answer.status) {
            return Err(format!("{method} {path}: {}", answer.status).into());
        }
        Ok(answer)
    }

    fn head(&mut self) -> Result<Answer> {
        let mut answer = Answer {
            status: 0,
            length: 0,
            location: String::new(),
        };
        let mut line = String::new();
        (&mut self.wire).take(64 << 10).read_line(&mut line)?;
        answer.status = line.split(' ').nth(1).ok_or("no answer")?.parse()?;
        loop {
            line.clear();
            (&mut self.wire).take(64 << 10).read_line(&mut line)?;
            let Some((name, value)) = line.trim().split_once(':') else {
                return Ok(answer);
            };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => answer.length = value.trim().parse()?,
                "location" => value.trim().clone_into(&mut answer.location),
                _ => {}
            }
        }
    }
}

/// A large blob that is not held: one block again and again, in each round another one.
pub(super) struct Layer {
    block: Vec<u8>,
    count: u64,
    digest: String,
}

impl Layer {
    pub(super) fn new(len: u64, round: usize) -> Self {
        let block = noise(1 << 20, 100 + round as u64);
        let count = len >> 20;
        let mut hash = Sha256::new();
        for _ in 0..count {
            hash.update(&block);
        }
        let digest = hex(&hash.finalize());
        Self {
            block,
            count,
            digest,
        }
    }

    /// Seconds that a push takes.
    pub(super) fn push(&self, host: &str) -> Result<f64> {
        let start = Instant::now();
        Http::connect(host)?.push(self.count << 20, &self.digest, |wire| {
            (0..self.count).try_for_each(|_| wire.write_all(&self.block))
        })?;
        Ok(start.elapsed().as_secs_f64())
    }
}

/// The path of a location, which may be a whole URL.
fn path(location: &str) -> String {
    match location.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]).to_owned(),
        None => location.to_owned(),
    }
}

pub(super) fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(hash: &[u8]) -> String {
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Bytes that cannot be compressed (xorshift).
pub(super) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
