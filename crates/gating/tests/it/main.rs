//! Gating against stores in memory that count what is asked of them.

#![expect(clippy::unwrap_used, reason = "a test that fails should panic")]

mod clientcfg;
mod counting;
mod promote;
