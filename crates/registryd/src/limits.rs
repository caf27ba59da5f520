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
    pub(crate) silence: Duration,
    pub(crate) uploads: usize,
    pub(crate) manifests: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            manifest: 4 << 20,
            blob: 64 << 30,
            connections: 8192,
            header_time: Duration::from_secs(30),
            silence: Duration::from_secs(120),
            uploads: 256,
            manifests: 8 << 20,
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

    /// Most open connections; 8192. Further ones wait. Each needs an open file, and a blob on its
    /// way another one, so that the process must be allowed some more.
    pub fn connections(&self) -> usize {
        self.connections
    }

    /// Longest time from the first byte of a request to the end of its headers, and that a
    /// manifest may take to arrive; 30 s.
    pub fn header_time(&self) -> Duration {
        self.header_time
    }

    /// Longest time without a byte, of a connection that has sent nothing yet, of a body that
    /// comes, and of an answer that is not taken; 120 s.
    pub fn silence(&self) -> Duration {
        self.silence
    }

    /// Most requests with a part of a blob that one address may have open; 256. Further ones are
    /// told to come again.
    pub fn uploads(&self) -> usize {
        self.uploads
    }

    /// Most bytes of manifests that are read and checked at the same time; 8 MiB, and never less
    /// than one manifest. Further ones wait.
    pub fn manifests(&self) -> u64 {
        self.manifests.max(self.manifest)
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

    /// With another time without a byte.
    pub fn with_silence(mut self, time: Duration) -> Self {
        self.silence = time;
        self
    }

    /// With another limit for manifests at the same time.
    pub fn with_manifests(mut self, bytes: u64) -> Self {
        self.manifests = bytes;
        self
    }

    /// With another limit for uploads of one address.
    pub fn with_uploads(mut self, uploads: usize) -> Self {
        self.uploads = uploads;
        self
    }
}
