//! Content as a stream that goes on where a broken connection left it.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use ocicore::{Attempts, BoxStream, Class, Cx};
use reqwest::{
    Method,
    header::{
        CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderValue, IF_RANGE, LAST_MODIFIED,
        RANGE,
    },
};
use url::Url;

use super::{
    Client, Error, Result, answer,
    client::{Answer, Request},
    retry,
};

/// A download in progress.
#[derive(Debug)]
pub(super) struct Download {
    client: Client,
    url: Url,
    place: String,
    /// Bytes that are there already.
    at: u64,
    /// Bytes that there will be, if the server says so.
    total: Option<u64>,
    /// What tells whether content is still the same.
    validator: Option<HeaderValue>,
    /// The answer that is being read, and bytes of it that are there already.
    part: Option<(Answer, u64)>,
    attempts: Attempts,
    /// What kind of file it must be: what was seen of its beginning.
    checked: bool,
}

impl Download {
    /// Asks for content from its byte `at` on, and waits for the answer to begin.
    pub(super) async fn open(cx: &Cx, client: &Client, url: &Url, at: u64) -> Result<Self> {
        let mut download = Self {
            client: client.clone(),
            url: url.clone(),
            place: super::address::place(url),
            at,
            total: None,
            validator: None,
            part: None,
            attempts: client.attempts(),
            checked: at > 0,
        };
        loop {
            match download.ask(cx).await {
                Ok(()) => return Ok(download),
                Err(error) => retry::wait(cx, &mut download.attempts, error).await?,
            }
        }
    }

    /// Bytes that there will be, if the server says so.
    pub(super) fn total(&self) -> Option<u64> {
        self.total
    }

    /// The content; errors of this module travel as sources of those of the port.
    pub(super) fn into_stream(self, cx: &Cx) -> BoxStream<Bytes> {
        stream::try_unfold((self, cx.clone()), |(mut download, cx)| async move {
            match download.next(&cx).await {
                Ok(Some(chunk)) => Ok(Some((chunk, (download, cx)))),
                Ok(None) => Ok(None),
                Err(Error::Cancelled) => Err(ocicore::Error::Cancelled),
                Err(error) => {
                    let class = error.class();
                    let (place, host) = (&download.place, "a Maven repository");
                    Err(ocicore::Error::store("read", place, host, class, error))
                }
            }
        })
        .boxed()
    }

    async fn next(&mut self, cx: &Cx) -> Result<Option<Bytes>> {
        loop {
            match self.try_next(cx).await {
                Ok(Some(chunk)) if chunk.is_empty() => {}
                Ok(Some(chunk)) => {
                    self.at += chunk.len() as u64;
                    self.attempts.progressed();
                    return Ok(Some(chunk));
                }
                Ok(None) => return Ok(None),
                Err(error @ Error::Changed { .. }) => return Err(error),
                Err(error) => {
                    self.part = None;
                    retry::wait(cx, &mut self.attempts, error).await?;
                }
            }
        }
    }

    async fn try_next(&mut self, cx: &Cx) -> Result<Option<Bytes>> {
        if self.part.is_none() {
            if self.total == Some(self.at) {
                return Ok(None);
            }
            self.ask(cx).await?;
        }
        let Some((answer, skip)) = &mut self.part else {
            return Ok(None);
        };
        let (at, total) = (self.at, self.total);
        let truncated = || {
            total
                .filter(|total| at < *total)
                .map(|size| Error::Truncated {
                    place: self.place.clone(),
                    at,
                    size,
                })
        };
        let mut chunk = match answer.chunk(cx).await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return truncated().map_or(Ok(None), Err),
            // hyper says the same of a body that is too short.
            Err(error @ Error::Transport { .. }) if error.class() == Class::Transient => {
                return Err(truncated().unwrap_or(error));
            }
            Err(error) => return Err(error),
        };
        let skipped = usize::try_from(*skip).map_or(chunk.len(), |skip| skip.min(chunk.len()));
        *skip -= skipped as u64;
        let _ = chunk.split_to(skipped);
        if !self.checked && !chunk.is_empty() {
            let content_type = answer.header(CONTENT_TYPE).unwrap_or_default();
            if let Some(found) = no_archive(content_type, &chunk) {
                return Err(Error::NotAnArchive {
                    place: self.place.clone(),
                    found,
                });
            }
            self.checked = true;
        }
        let limit = self.client.options().max_size;
        if self.at + chunk.len() as u64 > limit {
            return Err(self.too_large(limit));
        }
        Ok(Some(chunk))
    }

    /// Asks for what is left.
    async fn ask(&mut self, cx: &Cx) -> Result<()> {
        let mut request = Request::new(Method::GET, &self.url);
        if self.at > 0 {
            let range = HeaderValue::try_from(format!("bytes={}-", self.at))
                .map_err(|_| Error::protocol(&self.place, "a range that no header may hold"))?;
            request.headers.insert(RANGE, range);
            if let Some(validator) = &self.validator {
                request.headers.insert(IF_RANGE, validator.clone());
            }
        }
        let answer = match self.client.send(cx, &request).await {
            // All of it is there (RFC 9110 §15.5.17).
            Err(Error::Refused { status: 416, .. }) if self.at > 0 => {
                self.total = Some(self.at);
                return Ok(());
            }
            other => other?,
        };
        let validator = validator(&answer);
        if self.validator.is_some() && validator != self.validator {
            return Err(Error::Changed {
                place: self.place.clone(),
            });
        }
        let (total, skip) = match answer.response.status().as_u16() {
            206 => {
                let field = answer.header(CONTENT_RANGE).unwrap_or_default();
                let range = content_range(field);
                let (start, total) =
                    range
                        .filter(|(start, _)| *start == self.at)
                        .ok_or_else(|| {
                            let field = answer::shown(field);
                            let fault =
                                format!("asked for bytes from {} on, it sent `{field}`", self.at);
                            Error::protocol(&self.place, fault)
                        })?;
                debug_assert_eq!(start, self.at, "it was compared");
                (total, 0)
            }
            _ => {
                let length = answer.header(CONTENT_LENGTH);
                (
                    length.and_then(|length| length.trim().parse().ok()),
                    self.at,
                )
            }
        };
        if self.total.is_some() && total != self.total {
            return Err(Error::Changed {
                place: self.place.clone(),
            });
        }
        let limit = self.client.options().max_size;
        if total.is_some_and(|total| total > limit) {
            return Err(self.too_large(limit));
        }
        (self.total, self.validator) = (total, validator);
        self.part = Some((answer, skip));
        Ok(())
    }

    fn too_large(&self, limit: u64) -> Error {
        Error::TooLarge {
            place: self.place.clone(),
            limit,
        }
    }
}

/// What tells whether content is still the same: a strong tag, or a date (RFC 9110 §13.1.5).
fn validator(answer: &Answer) -> Option<HeaderValue> {
    let headers = answer.response.headers();
    let tag = headers.get(ETAG);
    let strong = tag.filter(|tag| !tag.as_bytes().starts_with(b"W/"));
    strong.or_else(|| headers.get(LAST_MODIFIED)).cloned()
}

/// The first byte of an answer, and all bytes that there are (RFC 9110 §14.4).
fn content_range(field: &str) -> Option<(u64, Option<u64>)> {
    let (unit, rest) = field.trim().split_once(' ')?;
    let (range, total) = rest.trim().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (
        first.trim().parse::<u64>().ok()?,
        last.trim().parse::<u64>().ok()?,
    );
    let total = match total.trim() {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    (unit.eq_ignore_ascii_case("bytes") && first <= last).then_some((first, total))
}

/// What a body is instead of an archive, by its first bytes: servers, proxies and pages of logins
/// say many things with status 200.
fn no_archive(content_type: &str, start: &[u8]) -> Option<String> {
    const ARCHIVES: [&[u8]; 4] = [
        b"PK\x03\x04",
        b"PK\x05\x06",
        b"\x1f\x8b",
        b"\x28\xb5\x2f\xfd",
    ];
    let is_archive = ARCHIVES.iter().any(|magic| start.starts_with(magic));
    let is_tar = start.get(257..262) == Some(b"ustar");
    if is_archive || is_tar {
        return None;
    }
    let text = String::from_utf8_lossy(&start[..start.len().min(4096)]);
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let is_html = content_type.to_ascii_lowercase().contains("html")
        || text
            .get(..5)
            .is_some_and(|start| start.eq_ignore_ascii_case("<html"))
        || text
            .get(..14)
            .is_some_and(|start| start.eq_ignore_ascii_case("<!doctype html"));
    if is_html {
        return Some(match answer::html_title(text) {
            Some(title) => format!("a page in HTML: `{title}`"),
            None => "a page in HTML".to_owned(),
        });
    }
    if text.starts_with(['<', '{', '[']) {
        return Some(format!("text: `{}`", answer::shown(text)));
    }
    Some("neither a zip nor a tar".to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn archives_are_told_from_pages() {
        let mut tar = vec![0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        for start in [&b"PK\x03\x04x"[..], b"PK\x05\x06", b"\x1f\x8b\x08", &tar] {
            assert_eq!(no_archive("text/html", start), None);
        }
        let shown = [
            ("text/html; charset=utf-8", "x"),
            (
                "",
                "\u{feff}\n<!DOCTYPE html><html><head><title>Sign\n in</title>",
            ),
            ("application/zip", "<HTML>"),
            ("application/json", "{\"error\": \"no\"}"),
            ("application/zip", "Not found"),
            ("", "<ä<<<äää"),
        ]
        .map(|(content_type, start)| no_archive(content_type, start.as_bytes()).unwrap());
        insta::assert_snapshot!(shown.join("\n"));
    }

    #[test]
    fn ranges_are_read() {
        for (field, expected) in [
            ("bytes 3-6/10", Some((3, Some(10)))),
            ("Bytes 3-6/*", Some((3, None))),
            ("bytes 6-3/10", None),
            ("bytes */10", None),
            ("items 3-6/10", None),
            ("", None),
        ] {
            assert_eq!(content_range(field), expected, "{field}");
        }
    }

    proptest! {
        #[test]
        fn no_input_panics(field in "\\PC{0,40}", start: Vec<u8>) {
            let _ = content_range(&field);
            let _ = no_archive(&field, &start);
        }
    }
}
