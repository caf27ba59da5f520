//! What the errors of a crate say, for its tests.

use std::{
    collections::HashSet,
    fmt::{Display, Write as _},
    mem,
};

use crate::Class;

/// Class, text and hint of each error of `all`, for a snapshot.
///
/// `source` is the file that declares the enum with `thiserror`: its attributes are counted, so
/// that a kind of error that is added has to be added to `all`, too.
///
/// # Panics
/// If a kind of error is not in `all`.
#[track_caller]
pub fn shown<E: Display, H: Display>(
    all: &[E],
    source: &str,
    about: impl Fn(&E) -> (Class, Option<H>),
) -> String {
    let kinds: HashSet<_> = all.iter().map(mem::discriminant).collect();
    // Attributes of variants are indented.
    let declared = source.matches("\n    #[error(").count();
    assert_eq!(kinds.len(), declared, "a kind of error has no sample");
    let mut shown = String::new();
    for error in all {
        let (class, hint) = about(error);
        writeln!(shown, "{class:?}: {error}").unwrap();
        if let Some(hint) = hint {
            writeln!(shown, "    {hint}").unwrap();
        }
    }
    shown
}
