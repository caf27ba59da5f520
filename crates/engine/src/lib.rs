//! Container engine port, with an implementation for Docker and Podman sockets.
