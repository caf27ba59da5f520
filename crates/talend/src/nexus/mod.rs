//! Built jobs from Nexus and other Maven repositories, and archives to them.
//!
//! [`fetch_all`] gets what a [manifest](crate::manifest) names, by address or by coordinates:
//! verified by the repository's checksums, several at the same time, resumed where an earlier
//! attempt was cut short, and not at all if the [`Cache`] has it. [`publish`] puts an archive into a
//! repository, as Maven does or as the original job2docker does. This is the asynchronous part of the
//! crate: it needs a tokio runtime.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use ocicore::Cx;
//! use talend::{
//!     manifest::Source,
//!     nexus::{Cache, Client, ClientOptions, Credentials, Logins, Repository, fetch_all},
//! };
//!
//! let logins = Logins::default().with("nexus.example.com", Credentials::new("ci", "secret"));
//! let client = Client::new(ClientOptions::default().with_logins(logins));
//! let releases = Repository::maven("https://nexus.example.com/repository/releases")?;
//! let jobs = [Source::Coordinates("org.example:load:0.1.0".parse()?)];
//! let cache = Cache::open("cache")?;
//! let fetched = fetch_all(&Cx::default(), &client, &jobs, &[releases], &cache).await?;
//! println!("{} {}", fetched[0].file_name, fetched[0].digest);
//! # Ok(())
//! # }
//! ```
//!
//! Credentials are given by the caller, go to the host they are for with the first request, never
//! anywhere after a redirect to another origin, and are not printed.

mod address;
mod answer;
mod cache;
mod checksum;
mod client;
mod credentials;
mod download;
mod error;
mod fetch;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
mod layout;
mod locate;
mod metadata;
pub mod netrc;
mod options;
mod pom;
mod publish;
mod repository;
mod retry;
mod search;

pub use cache::Cache;
pub use checksum::{Checksum, ChecksumAlgorithm};
pub use client::Client;
pub use credentials::{Credentials, Logins};
pub use error::{Error, Failure, Result};
pub use fetch::{Fetched, Origin, fetch, fetch_all};
pub use options::{Checksums, ClientOptions, Proxies};
pub use publish::{PlannedFile, PublishLayout, PublishPlan, PublishSpec, Published, plan, publish};
pub use repository::Repository;
