//! What `job2docker watch` does.

mod claims;
mod command;
mod process;
mod render;

pub use command::{Watched, watch_folder};
