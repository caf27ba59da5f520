use std::time::Duration;

use super::credentials::Logins;

/// How a [`Client`](super::Client) works.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientOptions {
    /// Who one is, by host; nobody.
    pub logins: Logins,
    /// Attempts at what may work when tried again, the first one included; 5.
    pub attempts: u32,
    /// The longest first pause between two attempts, doubled each time up to 10 s; 250 ms. All pauses of
    /// one download last 2 minutes at most; it begins anew if the file has changed meanwhile.
    pub pause: Duration,
    /// How long no byte may move; 60 s.
    pub stall: Duration,
    /// Downloads at the same time; 4.
    pub parallel: usize,
    /// Largest file in bytes; 16 GiB.
    pub max_size: u64,
    /// What to do about files without a checksum.
    pub checksums: Checksums,
    /// Whether the environment's proxies are used.
    pub proxies: Proxies,
    /// Certificates in PEM of authorities that are trusted beside those of the system; none.
    pub authorities: Vec<Vec<u8>>,
}

/// What to do about files without a checksum. Closed: they are taken or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksums {
    /// The strongest that there is has to fit.
    #[default]
    IfAny,
    /// Likewise, and there must be one.
    Required,
}

/// Whether the environment's proxies are used. Closed: they are or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proxies {
    /// No proxy.
    #[default]
    None,
    /// Those that `http_proxy`, `https_proxy` and `no_proxy` name.
    FromEnvironment,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            logins: Logins::default(),
            attempts: 5,
            pause: Duration::from_millis(250),
            stall: Duration::from_secs(60),
            parallel: 4,
            max_size: 16 << 30,
            checksums: Checksums::default(),
            proxies: Proxies::default(),
            authorities: Vec::new(),
        }
    }
}

impl ClientOptions {
    /// With credentials.
    pub fn with_logins(mut self, logins: Logins) -> Self {
        self.logins = logins;
        self
    }

    /// With another number of attempts, and another first pause.
    pub fn with_attempts(mut self, attempts: u32, pause: Duration) -> Self {
        (self.attempts, self.pause) = (attempts.max(1), pause);
        self
    }

    /// With another limit to the time in which no byte moves.
    pub fn with_stall(mut self, stall: Duration) -> Self {
        self.stall = stall;
        self
    }

    /// With another number of downloads at the same time.
    pub fn with_parallel(mut self, parallel: usize) -> Self {
        self.parallel = parallel.max(1);
        self
    }

    /// With another limit to the size of a file.
    pub fn with_max_size(mut self, bytes: u64) -> Self {
        self.max_size = bytes;
        self
    }

    /// With another answer to files without a checksum.
    pub fn with_checksums(mut self, checksums: Checksums) -> Self {
        self.checksums = checksums;
        self
    }

    /// With the environment's proxies.
    pub fn with_proxies(mut self, proxies: Proxies) -> Self {
        self.proxies = proxies;
        self
    }

    /// With certificates of one more authority, in PEM.
    pub fn with_authority(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.authorities.push(pem.into());
        self
    }
}
