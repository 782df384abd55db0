//! Python on a host: what runs as one process where a shell would start one for each piece.

/// The interpreters to be tried; the second one is Red Hat's where no other is installed.
pub(super) const INTERPRETERS: &str = "python3 /usr/libexec/platform-python";
