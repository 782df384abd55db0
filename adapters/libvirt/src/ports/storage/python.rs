//! Python on a host. It runs as one process, while a shell would start one for each piece.

/// The interpreters to try. The second one is Red Hat's, for hosts without another one.
pub(super) const INTERPRETERS: &str = "python3 /usr/libexec/platform-python";
