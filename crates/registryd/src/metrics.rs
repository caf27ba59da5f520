//! Counters of a server, as Prometheus reads them.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Upper bounds of the classes of answer times, in seconds.
const BOUNDS: [f64; 8] = [0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0];

/// What has happened since the start.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// By method and status.
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
    /// Requests up to each bound, and those beyond all.
    times: [AtomicU64; BOUNDS.len() + 1],
    time: AtomicU64,
    pub(crate) connections: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) sent: AtomicU64,
}

impl Metrics {
    pub(crate) fn request(&self, method: &str, status: u16, took: Duration) {
        // What a client makes up does not grow the table.
        let method = ["GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"]
            .into_iter()
            .find(|known| *known == method)
            .unwrap_or("other");
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry((method, status)).or_default() += 1;
        drop(requests);
        let seconds = took.as_secs_f64();
        let class = BOUNDS
            .iter()
            .position(|bound| seconds <= *bound)
            .unwrap_or(BOUNDS.len());
        self.times[class].fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.time.fetch_add(micros, Ordering::Relaxed);
    }

    /// The text format of Prometheus, version 0.0.4.
    pub(crate) fn render(&self) -> String {
        let mut out = String::new();
        let mut line = |text: std::fmt::Arguments<'_>| {
            // A `String` takes everything.
            let _ = writeln!(out, "{text}");
        };
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        line(format_args!(
            "# HELP registryd_requests_total Requests answered."
        ));
        line(format_args!("# TYPE registryd_requests_total counter"));
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        for ((method, status), count) in &*requests {
            line(format_args!(
                "registryd_requests_total{{method=\"{method}\",status=\"{status}\"}} {count}"
            ));
        }
        drop(requests);
        line(format_args!(
            "# HELP registryd_request_seconds Time to the head of the answer."
        ));
        line(format_args!("# TYPE registryd_request_seconds histogram"));
        let mut sum = 0;
        for (bound, count) in BOUNDS.iter().zip(&self.times) {
            sum += read(count);
            line(format_args!(
                "registryd_request_seconds_bucket{{le=\"{bound}\"}} {sum}"
            ));
        }
        sum += read(&self.times[BOUNDS.len()]);
        line(format_args!(
            "registryd_request_seconds_bucket{{le=\"+Inf\"}} {sum}"
        ));
        let seconds = Duration::from_micros(read(&self.time)).as_secs_f64();
        line(format_args!("registryd_request_seconds_sum {seconds}"));
        line(format_args!("registryd_request_seconds_count {sum}"));
        for (name, kind, help, value) in [
            (
                "connections",
                "gauge",
                "Open connections.",
                &self.connections,
            ),
            (
                "received_bytes_total",
                "counter",
                "Bytes of blobs received.",
                &self.received,
            ),
            (
                "sent_bytes_total",
                "counter",
                "Bytes of blobs and manifests in answers.",
                &self.sent,
            ),
        ] {
            line(format_args!("# HELP registryd_{name} {help}"));
            line(format_args!("# TYPE registryd_{name} {kind}"));
            line(format_args!("registryd_{name} {}", read(value)));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_rendered() {
        let metrics = Metrics::default();
        metrics.request("GET", 200, Duration::from_micros(500));
        metrics.request("GET", 200, Duration::from_millis(3));
        metrics.request("PUT", 201, Duration::from_secs(100));
        metrics.request("BREW", 405, Duration::ZERO);
        metrics.sent.fetch_add(10, Ordering::Relaxed);
        insta::assert_snapshot!(metrics.render());
    }
}
