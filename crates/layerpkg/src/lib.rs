//! Packages as scratch images: store, versions, shims (Hamlet).

mod activate;
mod commit;
mod confine;
mod directory;
mod error;
pub mod install;
mod lock;
mod package;
mod prefix;
pub mod publish;
pub mod shim;
mod shims;
mod tools;

pub use activate::{Activated, activate};
pub use error::{Error, Result};
pub use package::{PackageName, Version};
pub use prefix::{Installed, Origin, Package, Prefix};
pub use shims::Taken;
