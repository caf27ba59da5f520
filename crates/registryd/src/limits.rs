use std::time::Duration;

/// Bounds of what clients may ask of a server.
///
/// ```
/// let limits = registryd::Limits::default().with_manifest(1 << 20);
/// assert_eq!(limits.manifest(), 1_048_576);
/// ```
#[derive(Clone, Debug)]
pub struct Limits {
    pub(crate) manifest: u64,
    pub(crate) blob: u64,
    pub(crate) connections: usize,
    pub(crate) header_time: Duration,
    pub(crate) uploads: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            manifest: 4 << 20,
            blob: 64 << 30,
            connections: 8192,
            header_time: Duration::from_secs(30),
            uploads: 256,
        }
    }
}

impl Limits {
    /// Largest manifest in bytes; 4 MiB, which a registry must take
    /// (distribution-spec §Pushing manifests).
    pub fn manifest(&self) -> u64 {
        self.manifest
    }

    /// Largest blob in bytes; 64 GiB.
    pub fn blob(&self) -> u64 {
        self.blob
    }

    /// Most open connections; 8192. Further ones wait.
    pub fn connections(&self) -> usize {
        self.connections
    }

    /// Longest time from the first byte of a request to the end of its headers; 30 s.
    pub fn header_time(&self) -> Duration {
        self.header_time
    }

    /// Most requests with a part of a blob that one address may have open; 256. Further ones are
    /// told to come again.
    pub fn uploads(&self) -> usize {
        self.uploads
    }

    /// With another limit for manifests.
    pub fn with_manifest(mut self, bytes: u64) -> Self {
        self.manifest = bytes;
        self
    }

    /// With another limit for blobs.
    pub fn with_blob(mut self, bytes: u64) -> Self {
        self.blob = bytes;
        self
    }

    /// With another limit for open connections.
    pub fn with_connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// With another time for headers.
    pub fn with_header_time(mut self, time: Duration) -> Self {
        self.header_time = time;
        self
    }

    /// With another limit for uploads of one address.
    pub fn with_uploads(mut self, uploads: usize) -> Self {
        self.uploads = uploads;
        self
    }
}
