//! Whose things are, and how nothing is left behind.
//!
//! All that this crate makes carries the label [`OWNER`] with the name of its [`Owner`]. What is to
//! go again carries [`LEASE`] as well: containers, unless their spec says to keep them, and volumes
//! without a name. A [`Temporary`](crate::Temporary) removes such a thing when it is dropped; what
//! a killed process left, [`reap`](crate::reap) finds by the lease.

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use ocicore::Error;

use crate::{Result, spec::is_name};

/// Label of everything that is made; its value is the name of the owner.
pub const OWNER: &str = "dev.gantry.owner";

/// Label of everything that is to be removed again; its value says which process holds it.
pub const LEASE: &str = "dev.gantry.lease";

/// Whose things are: a name for a program or a pipeline, shared by all its processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    name: String,
}

impl Owner {
    /// An owner; the name is of letters, digits, `_`, `.` and `-`, beginning with a letter or
    /// digit.
    ///
    /// # Errors
    /// If it is not.
    pub fn new(name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        if is_name(&name) {
            Ok(Self { name })
        } else {
            let expected = "expected [a-zA-Z0-9][a-zA-Z0-9_.-]*";
            Err(Error::parse("owner", &name, expected).into())
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Labels of something that stays.
    pub fn labels(&self) -> BTreeMap<String, String> {
        BTreeMap::from([(OWNER.to_owned(), self.name.clone())])
    }

    /// Labels of something that this process is to remove again.
    pub fn lease(&self, now: SystemTime) -> BTreeMap<String, String> {
        let mut labels = self.labels();
        labels.insert(LEASE.to_owned(), Lease::of_this_process(now).to_text());
        labels
    }
}

/// A process that holds something: the machine's boot, the namespace of process ids, the id, the
/// start of the process, and when it took the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    boot: String,
    namespace: u64,
    process: u32,
    start: u64,
    since: u64,
}

/// What can be said about the holder of a lease. Closed: it is one of three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    Alive,
    Dead,
    /// It runs on another machine, in another container, or ran before the last boot.
    Unknown,
}

impl Lease {
    fn of_this_process(now: SystemTime) -> Self {
        let process = std::process::id();
        Self {
            boot: boot(),
            namespace: namespace(),
            process,
            start: start_of(process).unwrap_or(0),
            since: now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        }
    }

    fn to_text(&self) -> String {
        let Self {
            boot,
            namespace,
            process,
            start,
            since,
        } = self;
        format!("{boot}/{namespace}/{process}/{start}/{since}")
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let lease = Self {
            boot: parts.next()?.to_owned(),
            namespace: parts.next()?.parse().ok()?,
            process: parts.next()?.parse().ok()?,
            start: parts.next()?.parse().ok()?,
            since: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(lease)
    }

    pub(crate) fn holder(&self) -> Holder {
        // Ids mean something within one boot and one namespace only. Elsewhere than on Linux there
        // is nothing to compare.
        if self.boot.is_empty() || self.boot != boot() || self.namespace != namespace() {
            return Holder::Unknown;
        }
        if start_of(self.process) == Some(self.start) {
            Holder::Alive
        } else {
            Holder::Dead
        }
    }

    pub(crate) fn age(&self, now: SystemTime) -> Duration {
        let since = UNIX_EPOCH + Duration::from_secs(self.since.min(u64::from(u32::MAX)));
        now.duration_since(since).unwrap_or_default()
    }
}

fn boot() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

fn namespace() -> u64 {
    let link = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let text = link.to_string_lossy();
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}

/// Start of a process in clock ticks since boot: field 22 of `/proc/PID/stat`, proc(5).
fn start_of(process: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The second field is a name in parentheses, which may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_read_as_it_was_written() {
        let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let lease = Lease::of_this_process(now);
        assert_eq!(Lease::parse(&lease.to_text()), Some(lease.clone()));
        assert_eq!(
            lease.age(now + Duration::from_secs(5)),
            Duration::from_secs(5)
        );
        for bad in ["", "a", "a/1/2/3", "a/1/2/3/x", "a/1/2/3/4/5", "a/-1/2/3/4"] {
            assert_eq!(Lease::parse(bad), None, "{bad}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_that_ended_holds_nothing() {
        let lease = Lease::of_this_process(UNIX_EPOCH);
        assert_eq!(lease.holder(), Holder::Alive);
        let reused = Lease {
            start: lease.start + 1,
            ..lease.clone()
        };
        assert_eq!(reused.holder(), Holder::Dead);
        let elsewhere = Lease {
            boot: "other".to_owned(),
            ..lease
        };
        assert_eq!(elsewhere.holder(), Holder::Unknown);
    }

    #[test]
    fn an_owner_has_a_plain_name() {
        assert!(Owner::new("grocker").is_ok());
        assert!(Owner::new("a b").is_err());
        assert!(Owner::new("").is_err());
    }
}
