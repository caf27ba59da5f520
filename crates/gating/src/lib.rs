//! Speculative image gating: buildset registry, upload before merge, promote by manifest (Zuul).
