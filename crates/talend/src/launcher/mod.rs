//! Reading of shell launchers: a lexer and parser for the POSIX shell grammar, with the usual
//! bash additions told apart. Nothing is executed and nothing is expanded.

mod lexer;
mod parse;
mod position;
mod token;
mod word;

pub(crate) use parse::{Command, Link, Nesting, Script, parse};
pub use position::Position;
pub(crate) use position::Span;
pub(crate) use token::{Part, PartKind, Quoting, Word};
