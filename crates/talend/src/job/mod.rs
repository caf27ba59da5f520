mod archive_name;
mod studio;

pub use studio::{StudioVersion, default_base};
