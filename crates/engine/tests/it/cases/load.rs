use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use engine::{
    log::{Event, Log},
    spec::Cache,
};

use crate::bench::Bench;

/// 100 steps that print 100 MB in all.
pub(crate) async fn a_long_log_takes_little_memory(bench: Arc<Bench>) {
    let line = "x".repeat(99);
    let mut text = "FROM BASE\n".to_owned();
    // Steps without a command are much quicker.
    for step in 1..=100 {
        text += &match step % 10 {
            0 => format!("RUN yes {line} | head -n 100000 && echo step {step}\n"),
            _ => format!("ENV STEP={step}\n"),
        };
    }
    let spec = bench.dockerfile(&text).cache(Cache::Ignore);
    let bytes = Arc::new(AtomicU64::new(0));
    let most = Arc::new(AtomicU64::new(0));
    let before = resident();
    let log = Log::to({
        let (bytes, most) = (Arc::clone(&bytes), Arc::clone(&most));
        move |event| {
            if let Event::Stdout(text) = event {
                let n = text.len() as u64;
                // Looked at each 100 KB or so.
                if bytes.fetch_add(n, Ordering::Relaxed) % 100_000 < n {
                    most.fetch_max(resident(), Ordering::Relaxed);
                }
            }
        }
    });
    let id = bench.engine.build(&bench.cx, &spec, &log).await.unwrap();
    let printed = bytes.load(Ordering::Relaxed);
    assert!(printed > 100_000_000, "{printed} bytes were printed");
    let grown = most.load(Ordering::Relaxed).saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes were taken");
    bench.remove(id).await;
}

/// Memory of this process in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse::<u64>().unwrap() << 10
}
