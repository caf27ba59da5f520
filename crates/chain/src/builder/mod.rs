//! What builds an image.

mod context;
mod engine;

use std::fmt;

use ::engine::{log::Log, spec::ImageId};
use async_trait::async_trait;
use ocicore::Cx;

pub use self::engine::EngineBuilder;
use crate::{Plan, Result, Step};

/// Builds the images of a plan, one at a time or several at once.
#[async_trait]
pub trait Builder: fmt::Debug + Send + Sync + 'static {
    /// Refuses a plan with images that it can never build, before anything is built.
    ///
    /// # Errors
    /// [`Error::Unsupported`](crate::Error::Unsupported).
    fn check(&self, plan: &Plan) -> Result<()>;

    /// Builds an image and gives it all its names. All images of the plan that it needs are built.
    ///
    /// # Errors
    /// If it cannot be built; its names are those of what had them before.
    async fn build(&self, cx: &Cx, step: &Step, log: &Log) -> Result<ImageId>;
}
