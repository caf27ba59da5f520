//! Packages as scratch images: store, versions, shims (Hamlet).
