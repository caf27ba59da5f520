use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use ocicore::{Progress, TaskId};

/// Progress as bars on standard error.
#[derive(Debug)]
pub struct Bars {
    all: MultiProgress,
    bars: Mutex<BTreeMap<TaskId, ProgressBar>>,
}

impl Bars {
    /// Bars on standard error, drawn at most ten times a second; nothing if it is no terminal.
    pub fn stderr() -> Self {
        let target = ProgressDrawTarget::stderr_with_hz(10);
        Self {
            all: MultiProgress::with_draw_target(target),
            bars: Mutex::default(),
        }
    }

    fn with(&self, id: TaskId, act: impl FnOnce(&ProgressBar)) {
        let bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = bars.get(&id) {
            act(bar);
        }
    }
}

impl Progress for Bars {
    fn start(&self, id: TaskId, label: &str, total: Option<u64>) {
        let counted = ["entries", "images", "jobs"];
        let counted = label
            .rsplit(' ')
            .next()
            .is_some_and(|unit| counted.contains(&unit));
        let (bar, template) = match total {
            Some(total) if counted => (
                ProgressBar::new(total),
                "{prefix:>14} {wide_bar} {pos:>10}/{len}",
            ),
            Some(total) => (
                ProgressBar::new(total),
                "{prefix:>14} {wide_bar} {bytes:>10}/{total_bytes} {bytes_per_sec:>12}",
            ),
            None if counted => (ProgressBar::no_length(), "{prefix:>14} {spinner} {pos}"),
            None => (ProgressBar::no_length(), "{prefix:>14} {spinner} {bytes}"),
        };
        let style = ProgressStyle::with_template(template);
        let bar = bar.with_prefix(label.to_owned());
        let bar = match style {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        };
        let bar = self.all.add(bar);
        self.bars
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, bar);
    }

    fn advance(&self, id: TaskId, done: u64) {
        self.with(id, |bar| bar.set_position(done));
    }

    fn finish(&self, id: TaskId) {
        let bar = self
            .bars
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&id);
        if let Some(bar) = bar {
            bar.finish_and_clear();
            self.all.remove(&bar);
        }
    }
}
