//! Embeddable OCI distribution (registry v2) server.
