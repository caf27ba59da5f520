/// Bounds for readers of foreign data. All readers take them; the defaults fit real images.
///
/// ```
/// use ocicore::SizeLimits;
///
/// let limits = SizeLimits::default().with_manifest(64 << 10);
/// assert_eq!(limits.manifest(), 65_536);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SizeLimits {
    manifest: u64,
    config: u64,
    documents: u64,
    entries: u64,
    unpacked: u64,
}

impl Default for SizeLimits {
    fn default() -> Self {
        Self {
            manifest: 4 << 20,
            config: 16 << 20,
            documents: 256 << 20,
            entries: 1_000_000,
            unpacked: 64 << 30,
        }
    }
}

impl SizeLimits {
    /// Largest manifest or index in bytes; 4 MiB, which registries must take
    /// (distribution-spec §Pushing manifests).
    pub fn manifest(&self) -> u64 {
        self.manifest
    }

    /// Largest config, `index.json` or other document in bytes; 16 MiB.
    pub fn config(&self) -> u64 {
        self.config
    }

    /// Most bytes of all documents that one operation reads: the manifests of a
    /// [`copy`](crate::copy), the pages of a list; 256 MiB. Each counts as 1 KiB at least, so that
    /// this bounds their number, too.
    pub fn documents(&self) -> u64 {
        self.documents
    }

    /// Most entries of an archive; one million.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Most bytes that one archive or layer may unpack to; 64 GiB.
    pub fn unpacked(&self) -> u64 {
        self.unpacked
    }

    /// With another limit for manifests.
    pub fn with_manifest(mut self, bytes: u64) -> Self {
        self.manifest = bytes;
        self
    }

    /// With another limit for configs and other documents.
    pub fn with_config(mut self, bytes: u64) -> Self {
        self.config = bytes;
        self
    }

    /// With another limit for all documents of one operation.
    pub fn with_documents(mut self, bytes: u64) -> Self {
        self.documents = bytes;
        self
    }

    /// With another limit for the entries of an archive.
    pub fn with_entries(mut self, entries: u64) -> Self {
        self.entries = entries;
        self
    }

    /// With another limit for unpacked bytes.
    pub fn with_unpacked(mut self, bytes: u64) -> Self {
        self.unpacked = bytes;
        self
    }
}
