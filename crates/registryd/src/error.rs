use ocicore::{Class, Digest};

/// What can go wrong in a server and in the store behind it. Those that a client causes have a
/// code of the distribution specification (§Error codes), see [`Error::code`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A repository, tag, digest or upload is not well formed.
    #[error("{fault}")]
    Malformed {
        /// What kind of text it is.
        noun: Noun,
        /// Why it is not taken.
        fault: Box<ocicore::Error>,
    },
    /// The repository does not exist.
    #[error("repository `{repository}` is not known")]
    RepositoryUnknown {
        /// Its name.
        repository: String,
    },
    /// The repository has no such blob.
    #[error("blob `{digest}` is not in repository `{repository}`")]
    BlobUnknown {
        /// Name of the repository.
        repository: String,
        /// What was asked for.
        digest: Box<Digest>,
    },
    /// The repository has no such manifest or tag.
    #[error("manifest `{name}` is not in repository `{repository}`")]
    ManifestUnknown {
        /// Name of the repository.
        repository: String,
        /// Tag or digest that was asked for.
        name: String,
    },
    /// A manifest points to a blob that the repository does not have.
    #[error("manifest refers to blob `{digest}`, which is not in repository `{repository}`")]
    ManifestBlobUnknown {
        /// Name of the repository.
        repository: String,
        /// What is missing.
        digest: Box<Digest>,
    },
    /// A manifest is not what it says to be.
    #[error("manifest is not valid")]
    ManifestInvalid {
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A body is larger than this server takes.
    #[error("{what} is larger than the limit of {limit} bytes")]
    TooLarge {
        /// `manifest` or `blob`.
        what: &'static str,
        /// The limit in bytes.
        limit: u64,
    },
    /// The bytes have another digest than the client said.
    #[error("content hashes to `{actual}`, expected `{expected}`")]
    DigestMismatch {
        /// Digest that the client gave.
        expected: Box<Digest>,
        /// Digest of what came.
        actual: Box<Digest>,
    },
    /// The number of bytes is another than was said.
    #[error("{what} has {actual} bytes, expected {expected}")]
    SizeMismatch {
        /// What was measured.
        what: String,
        /// Bytes that were announced.
        expected: u64,
        /// Bytes that came.
        actual: u64,
    },
    /// A chunk does not begin where the upload ends (distribution-spec §Pushing a blob in chunks).
    #[error("chunk begins at {start}, but the upload has {offset} bytes")]
    OutOfOrder {
        /// Where the chunk begins.
        start: u64,
        /// Bytes that are there.
        offset: u64,
    },
    /// A range of a blob that it does not have (RFC 9110 §15.5.17).
    #[error("range `{range}` does not lie within the {size} bytes")]
    Range {
        /// As requested.
        range: String,
        /// Size of the blob in bytes.
        size: u64,
    },
    /// There is no such upload in this repository.
    #[error("upload `{id}` is not known in repository `{repository}`")]
    UploadUnknown {
        /// Name of the repository.
        repository: String,
        /// As in the URL.
        id: String,
    },
    /// Another request works on the upload.
    #[error("upload `{id}` is in use by another request")]
    UploadInUse {
        /// As in the URL.
        id: String,
    },
    /// A header or parameter cannot be understood.
    #[error("{what} `{value}` cannot be understood, expected {expected}")]
    Parameter {
        /// The header or parameter.
        what: &'static str,
        /// Its value.
        value: String,
        /// What would be good.
        expected: &'static str,
    },
    /// The client broke off the body.
    #[error("the request's body broke off")]
    Body {
        /// As the HTTP implementation says it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Credentials are missing or not good enough.
    #[error("authentication required")]
    Unauthorized {
        /// How the client may prove who it is (RFC 9110 §11.6.1).
        challenge: String,
    },
    /// Somebody who is known may not do it.
    #[error("access to repository `{repository}` is denied")]
    Denied {
        /// Name of the repository.
        repository: String,
    },
    /// The client has too many uploads at the same time.
    #[error("more than {limit} uploads at the same time")]
    TooManyUploads {
        /// As configured.
        limit: usize,
    },
    /// An upstream registry failed.
    #[error("upstream repository `{repository}` cannot be reached or does not answer well")]
    Upstream {
        /// With its host.
        repository: String,
        /// What it did.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A setting of the server is not good.
    #[error("{what} `{value}`: {fault}")]
    Setting {
        /// The setting.
        what: &'static str,
        /// Its value; `***` for secrets.
        value: String,
        /// What is wrong with it.
        fault: String,
    },
    /// No endpoint, or not this method.
    #[error("there is no `{method} {path}`")]
    NoEndpoint {
        /// HTTP method.
        method: String,
        /// Path of the request.
        path: String,
    },
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] ocicore::Error),
    /// The server cannot listen.
    #[error("cannot listen on `{address}`")]
    Bind {
        /// As configured.
        address: String,
        /// Why.
        source: std::io::Error,
    },
}

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A text that the specification gives an error code of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Noun {
    /// `<name>`.
    Repository,
    /// `<digest>`.
    Digest,
    /// `<reference>` that is a tag.
    Tag,
    /// The last part of an upload's URL.
    Upload,
}

impl Error {
    /// Code of the distribution specification.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed { noun, .. } => match noun {
                Noun::Repository => "NAME_INVALID",
                Noun::Digest => "DIGEST_INVALID",
                Noun::Tag => "TAG_INVALID",
                Noun::Upload => "BLOB_UPLOAD_UNKNOWN",
            },
            Self::RepositoryUnknown { .. } => "NAME_UNKNOWN",
            Self::BlobUnknown { .. } => "BLOB_UNKNOWN",
            Self::ManifestUnknown { .. } => "MANIFEST_UNKNOWN",
            Self::ManifestBlobUnknown { .. } => "MANIFEST_BLOB_UNKNOWN",
            Self::ManifestInvalid { .. } => "MANIFEST_INVALID",
            Self::DigestMismatch { .. } => "DIGEST_INVALID",
            Self::TooLarge { .. } | Self::SizeMismatch { .. } => "SIZE_INVALID",
            Self::OutOfOrder { .. } | Self::UploadInUse { .. } | Self::Body { .. } => {
                "BLOB_UPLOAD_INVALID"
            }
            Self::Range { .. } => "RANGE_INVALID",
            Self::UploadUnknown { .. } => "BLOB_UPLOAD_UNKNOWN",
            Self::Unauthorized { .. } => "UNAUTHORIZED",
            Self::Denied { .. } => "DENIED",
            Self::TooManyUploads { .. } => "TOOMANYREQUESTS",
            Self::Parameter { .. } | Self::NoEndpoint { .. } => "UNSUPPORTED",
            Self::Storage(_) | Self::Upstream { .. } | Self::Setting { .. } | Self::Bind { .. } => {
                "UNKNOWN"
            }
        }
    }

    /// Status of the HTTP answer.
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Malformed { noun, .. } => match noun {
                Noun::Upload => 404,
                _ => 400,
            },
            Self::RepositoryUnknown { .. }
            | Self::BlobUnknown { .. }
            | Self::ManifestUnknown { .. }
            | Self::NoEndpoint { .. }
            | Self::UploadUnknown { .. } => 404,
            Self::ManifestBlobUnknown { .. }
            | Self::ManifestInvalid { .. }
            | Self::DigestMismatch { .. }
            | Self::SizeMismatch { .. }
            | Self::Parameter { .. }
            | Self::Body { .. } => 400,
            Self::TooLarge { .. } => 413,
            Self::OutOfOrder { .. } | Self::Range { .. } => 416,
            Self::UploadInUse { .. } => 409,
            Self::Storage(error) => match error.class() {
                Class::Conflict => 409,
                Class::Exhausted => 507,
                Class::Transient => 503,
                _ => 500,
            },
            Self::Unauthorized { .. } => 401,
            Self::Denied { .. } => 403,
            Self::TooManyUploads { .. } => 429,
            Self::Upstream { .. } => 502,
            Self::Setting { .. } | Self::Bind { .. } => 500,
        }
    }

    /// Kind of failure, for the ports.
    pub fn class(&self) -> Class {
        match self {
            Self::Storage(error) => error.class(),
            Self::Setting { .. } => Class::Invalid,
            _ => match self.status() {
                429 | 502 => Class::Transient,
                401 | 403 => Class::Denied,
                404 => Class::NotFound,
                409 | 416 => Class::Conflict,
                413 => Class::Exhausted,
                400 => Class::Invalid,
                _ => Class::Other,
            },
        }
    }
}
