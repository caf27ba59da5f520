//! OCI distribution (registry v2) client.
