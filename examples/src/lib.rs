//! What the example binaries share: exit codes, progress, rendering of errors.
