//! Converts the client's errors into port errors, by what has to be done about them.

use vsiflow_steps::ports::{PortError, PortErrorKind as Kind};

use super::LibvirtHost;
use crate::{
    connect_error::ConnectError,
    error::{Error, LibvirtError, code},
    ssh::ExecError,
    xml::XmlError,
};

/// The host and object that an error is about.
#[derive(Clone, Copy)]
pub(super) struct ErrorContext<'a> {
    pub(super) host: &'a str,
    pub(super) object: &'a str,
}

impl ErrorContext<'_> {
    /// An error with a message of vsiflow.
    pub(super) fn error(&self, kind: Kind, message: impl Into<String>) -> PortError {
        PortError::new(kind, self.host, self.object, message)
    }

    /// Converts an error of the client.
    pub(super) fn of(&self, error: &Error) -> PortError {
        let kind = match error {
            Error::Libvirt(error) => of_libvirt(error),
            Error::NotSent { .. } => Kind::Unreachable,
            Error::OutcomeUnknown { .. } | Error::BadReply { .. } => Kind::OutcomeUnknown,
            Error::BadArguments { .. } => Kind::Rejected,
            Error::Connect(error) => of_connect(error),
        };
        let message = error
            .libvirt()
            .map_or_else(|| error.to_string(), |e| e.message.clone());
        self.error(kind, message)
    }

    /// Converts an error in libvirt's XML.
    pub(super) fn unreadable(&self, error: &XmlError) -> PortError {
        self.error(Kind::Other, error.to_string())
    }

    /// Converts an error of a command.
    pub(super) fn exec(&self, error: &ExecError) -> PortError {
        let kind = match error {
            ExecError::Connect(error) => of_connect(error),
            ExecError::Refused(_) => Kind::Denied,
            _ => Kind::Unreachable,
        };
        self.error(kind, error.to_string())
    }
}

impl LibvirtHost {
    pub(super) fn unconnected(&self, error: &ConnectError) -> PortError {
        PortError::new(of_connect(error), &self.name, "", error.to_string())
    }
}

fn of_connect(error: &ConnectError) -> Kind {
    match error {
        ConnectError::JumpHost { error, .. } => of_connect(error),
        ConnectError::TimedOut { .. } => Kind::Timeout,
        ConnectError::OtherMachine { .. } => Kind::OtherMachine,
        ConnectError::HostKeyUnknown { .. } | ConnectError::HostCertificate { .. } => {
            Kind::HostKeyUnknown
        }
        ConnectError::KnownHosts(_) => Kind::KnownHosts,
        ConnectError::HostKeyChanged { .. } => Kind::HostKeyChanged,
        ConnectError::HostKeyRevoked { .. } => Kind::HostKeyRevoked,
        ConnectError::Key(_) => Kind::KeyUnusable,
        ConnectError::AuthRefused { .. } => Kind::AuthRefused,
        ConnectError::SocketAbsent { .. }
        | ConnectError::SocketDead { .. }
        | ConnectError::ChannelRefused { .. }
        | ConnectError::LibvirtRefused { .. } => Kind::LibvirtAbsent,
        ConnectError::ForwardingProhibited { .. }
        | ConnectError::JumpProhibited { .. }
        | ConnectError::SocketForbidden { .. }
        | ConnectError::AuthWanted { .. } => Kind::Denied,
        _ => Kind::Unreachable,
    }
}

/// `VIR_ERR_RPC` is reported when the daemon ends during a call.
fn of_libvirt(error: &LibvirtError) -> Kind {
    let says = |text: &str| error.message.contains(text);
    if says("No space left on device") {
        return Kind::NoSpace;
    }
    if says("asynchronous jobs") || says("still being allocated") || says("still in use") {
        return Kind::Busy;
    }
    // The program that converts volumes has ended, and would end in the same way again. While another program
    // has the file, it gets no lock.
    if says("qemu-img") && says("unexpected exit status") {
        return if says("Failed to get") && says("lock") {
            Kind::Busy
        } else {
            Kind::Rejected
        };
    }
    match error.code {
        code::NO_DOMAIN | code::NO_STORAGE_VOL => Kind::Missing,
        code::NO_STORAGE_POOL => Kind::PoolMissing,
        code::NO_NETWORK => Kind::NetworkMissing,
        code::STORAGE_VOL_EXIST => Kind::Exists,
        code::OPERATION_INVALID if says("already exists") => Kind::Exists,
        code::OPERATION_INVALID if says("storage pool") && says("is not active") => {
            Kind::PoolInactive
        }
        code::OPERATION_INVALID if says("network") && says("is not active") => {
            Kind::NetworkInactive
        }
        code::OPERATION_INVALID => Kind::WrongState,
        code::INVALID_ARG
        | code::OPERATION_FAILED
        | code::XML_ERROR
        | code::XML_DETAIL
        | code::CONFIG_UNSUPPORTED
        | code::XML_INVALID_SCHEMA => Kind::Rejected,
        code::INTERNAL_ERROR if says("already exists") => Kind::Exists,
        // The error for a clone with an existing name.
        code::INTERNAL_ERROR if says("storage volume name") && says("already in use") => {
            Kind::Exists
        }
        code::RPC => Kind::OutcomeUnknown,
        code::OPERATION_DENIED => Kind::Denied,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Procedure;

    #[test]
    fn a_conversion_that_fails_is_not_tried_for_ever() {
        let kind = |message: &str| {
            of_libvirt(&LibvirtError {
                code: code::INTERNAL_ERROR,
                message: format!(
                    "internal error: Child process (/usr/bin/qemu-img convert -f qcow2 -O qcow2 /i/a /i/b) \
                     unexpected {message}"
                ),
                procedure: Procedure::StorageVolCreateXmlFrom,
                domain: 18,
                level: 2,
            })
        };
        let read = "exit status 1: qemu-img: error while reading at byte 0: Input/output error";
        assert_eq!(kind(read), Kind::Rejected);
        let full = "exit status 1: qemu-img: error while writing: No space left on device";
        assert_eq!(kind(full), Kind::NoSpace);
        let lock = "exit status 1: qemu-img: Failed to get shared \"write\" lock";
        assert_eq!(kind(lock), Kind::Busy);
        assert_eq!(kind("fatal signal 9"), Kind::Other);
    }
}
