//! The errors of port calls, by what has to be done about them.

use std::fmt;

use crate::host_text;

/// The kinds of errors of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PortErrorKind {
    /// The host cannot be reached: refused, no route, name unknown, connection lost before the
    /// call was sent.
    Unreachable,
    /// The call's deadline passed before it was sent.
    Timeout,
    /// The call was sent and its reply was not received: it may have taken effect.
    OutcomeUnknown,
    /// The host is currently working on the object ("asynchronous jobs", "still in use").
    Busy,
    /// The host's key is not among the known hosts.
    HostKeyUnknown,
    /// The host's key differs from the known one.
    HostKeyChanged,
    /// The host's key is revoked.
    HostKeyRevoked,
    /// The known hosts cannot be used.
    KnownHosts,
    /// The host refused the credentials.
    AuthRefused,
    /// The SSH key cannot be used, so that no login was tried.
    KeyUnusable,
    /// The host was reached, but libvirt on it does not answer.
    LibvirtAbsent,
    /// The host forbids what the connection needs (socket forwarding, access control).
    Denied,
    /// There is no pool of that name.
    PoolMissing,
    /// The pool exists and is inactive.
    PoolInactive,
    /// There is no room left.
    NoSpace,
    /// There is no network of that name.
    NetworkMissing,
    /// The network exists and is inactive.
    NetworkInactive,
    /// The object of the call does not exist (domain, volume).
    Missing,
    /// An object of that name exists already.
    Exists,
    /// The host refuses the description or cannot do that.
    Rejected,
    /// The object runs and the call needs it stopped, or the other way round.
    WrongState,
    /// A machine answers that is not the one that was recorded.
    OtherMachine,
    /// Another file, or a link, is in the place of a volume's file.
    Replaced,
    /// Any other error; it is retried.
    Other,
}

/// An error of a port call, with host and object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct PortError {
    /// What kind of error.
    pub kind: PortErrorKind,
    /// The host, as its settings name it.
    pub host: String,
    /// The object, such as `volume images/boot-….qcow2`; empty if no object is involved.
    pub object: String,
    /// The host's own words, or what was observed.
    pub message: String,
}

impl PortError {
    /// An error of this kind. What is not text in a host's words is escaped.
    pub fn new(
        kind: PortErrorKind,
        host: impl Into<String>,
        object: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            host: host.into(),
            object: host_text::shown_lines(&object.into()).into_owned(),
            message: host_text::shown_lines(&message.into()).into_owned(),
        }
    }
}

impl fmt::Display for PortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host {}: ", self.host)?;
        if !self.object.is_empty() {
            write!(f, "{}: ", self.object)?;
        }
        f.write_str(&self.message)
    }
}
