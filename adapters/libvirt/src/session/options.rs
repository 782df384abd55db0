//! What a session with a host needs to know beside its endpoint.

use std::sync::Arc;
use std::time::Duration;

use vsiflow_engine::lease::Lease;
use vsiflow_steps::turns::owner_of;

/// The options of a session.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// The driver to open.
    pub uri: String,
    /// How long opening a channel, and libvirt on it, may take. Connecting to the host has its own timeout.
    pub open_timeout: Duration,
    /// The lease that permits writing to the host.
    pub lease: Arc<Lease>,
    /// Who pays for what a host on this machine makes this process do. Over SSH that is the owner in the
    /// [`SshConfig`](crate::ssh::SshConfig).
    pub owner: Arc<str>,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            uri: "qemu:///system".to_owned(),
            open_timeout: Duration::from_secs(10),
            lease: Lease::endless(),
            owner: owner_of("", "localhost"),
        }
    }
}
