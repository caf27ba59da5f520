//! Helpers for journeys across the crates: peers, skips, commands.
