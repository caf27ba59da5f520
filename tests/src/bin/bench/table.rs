//! The one table that a benchmark prints.

use std::fmt;

use serde::Serialize;

use crate::measure::Measured;

/// Everything that a benchmark found.
#[derive(Debug, Serialize)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    /// Processor, cores, memory.
    pub(crate) machine: String,
    /// Inputs, as a person would name them.
    pub(crate) inputs: Vec<String>,
    pub(crate) rows: Vec<Row>,
    /// All runs, by input.
    pub(crate) samples: Vec<(&'static str, Vec<Measured>)>,
}

/// One figure of ours beside one of a peer, or beside a limit.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) figure: String,
    pub(crate) us: String,
    pub(crate) peer: String,
    pub(crate) theirs: String,
    pub(crate) ratio: f64,
    pub(crate) bar: String,
    pub(crate) met: Judged,
}

/// Whether a bar is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Judged {
    Met,
    Missed,
    /// The figure is shown, nothing is asked of it.
    Shown,
}

/// What a ratio has to be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bar {
    AtLeast(f64),
    AtMost(f64),
    None,
}

impl Bar {
    pub(crate) fn judge(self, ratio: f64) -> (String, Judged) {
        let judged = |met| if met { Judged::Met } else { Judged::Missed };
        match self {
            Self::AtLeast(bar) => (format!("≥ {bar}"), judged(ratio >= bar)),
            Self::AtMost(bar) => (format!("≤ {bar}"), judged(ratio <= bar)),
            Self::None => ("—".to_owned(), Judged::Shown),
        }
    }
}

impl Table {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            machine: machine(),
            inputs: Vec::new(),
            rows: Vec::new(),
            samples: Vec::new(),
        }
    }

    /// Seconds of a peer over our seconds: how many times as fast we are.
    pub(crate) fn faster(&mut self, figure: &str, us: f64, (peer, theirs): (&str, f64), bar: Bar) {
        self.row(
            figure,
            (format!("{us:.2} s"), us),
            (peer, format!("{theirs:.2} s"), theirs),
            bar,
        );
    }

    /// A rate of ours over that of a peer: more is better.
    pub(crate) fn rate(
        &mut self,
        figure: &str,
        unit: &str,
        us: f64,
        (peer, theirs): (&str, f64),
        bar: Bar,
    ) {
        let shown = |rate: f64| format!("{rate:.0}{unit}");
        // As times, of which less is better.
        let theirs = (peer, shown(theirs), theirs.recip());
        self.row(figure, (shown(us), us.recip()), theirs, bar);
    }

    /// A figure of ours beside a peer's or a limit: less is better.
    pub(crate) fn less(
        &mut self,
        figure: &str,
        unit: &str,
        us: f64,
        (peer, theirs): (&str, f64),
        bar: Bar,
    ) {
        let shown = |figure: f64| format!("{figure:.2}{unit}");
        let theirs = (peer, shown(theirs), theirs);
        self.row(figure, (shown(us), us), theirs, bar);
    }

    fn row(
        &mut self,
        figure: &str,
        (us, our_value): (String, f64),
        (peer, theirs, their_value): (&str, String, f64),
        bar: Bar,
    ) {
        let ratio = match bar {
            // Where a bar is an upper bound, less of ours is better.
            Bar::AtMost(_) => our_value / their_value,
            _ => their_value / our_value,
        };
        let (bar, met) = bar.judge(ratio);
        let (figure, peer) = (figure.to_owned(), peer.to_owned());
        self.rows.push(Row {
            figure,
            us,
            peer,
            theirs,
            ratio,
            bar,
            met,
        });
    }

    /// Bytes of ours over bytes of a peer or of a limit.
    pub(crate) fn bytes(&mut self, figure: &str, us: u64, (peer, theirs): (&str, u64), bar: Bar) {
        let shown = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
        let theirs = (peer, shown(theirs), theirs as f64);
        self.row(figure, (shown(us), us as f64), theirs, bar);
    }

    /// A number of ours beside a peer's.
    pub(crate) fn count_beside(&mut self, figure: &str, us: u64, (peer, theirs): (&str, u64)) {
        let theirs = (peer, theirs.to_string(), theirs as f64);
        self.row(figure, (us.to_string(), us as f64), theirs, Bar::None);
    }

    /// A number of ours, of which no more than `limit` are allowed.
    pub(crate) fn count(&mut self, figure: &str, us: u64, limit: u64) {
        let limit = ("limit", limit.to_string(), limit as f64);
        self.row(figure, (us.to_string(), us as f64), limit, Bar::AtMost(1.0));
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.name, self.machine)?;
        for input in &self.inputs {
            writeln!(f, "- {input}")?;
        }
        writeln!(f, "\n| figure | us | peer | theirs | ratio | bar | |")?;
        writeln!(f, "| --- | --- | --- | --- | --- | --- | --- |")?;
        for row in &self.rows {
            let met = match row.met {
                Judged::Met => "met",
                Judged::Missed => "MISSED",
                Judged::Shown => "",
            };
            writeln!(
                f,
                "| {} | {} | {} | {} | {:.2} | {} | {met} |",
                row.figure, row.us, row.peer, row.theirs, row.ratio, row.bar
            )?;
        }
        Ok(())
    }
}

fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{cores} × {}",
        model.map_or("unknown processor", |(_, model)| model)
    )
}
