//! What `job2docker deploy` does: an image to where it runs, and the command that runs it.

mod command;
mod start;

pub use command::{Deploy, deploy_image};
