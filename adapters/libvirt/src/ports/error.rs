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

/// What libvirt's message says beyond its code. Several failures share a code, and the code is all that
/// libvirt's protocol has beside the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MessageFact {
    /// The file system is full: the text of `ENOSPC`.
    NoSpace,
    /// Another job or program uses the object: `qemu_domainjob.c`, `storage_driver.c`.
    InUseNow,
    /// `qemu-img` ended because another program has the file.
    FileLocked,
    /// `qemu-img` ended, and would end in the same way again.
    ConversionFailed,
    /// The copy is not complete yet: `qemu_block.c`.
    NotReadyForPivot,
    /// Another client has the console open: `qemu_driver.c`.
    ConsoleOpen,
    /// The name is that of another object: `virnetworkobj.c`.
    NameTaken,
    /// Something of this name exists: `storage_driver.c`, `virstorageobj.c`.
    Exists,
    /// A clone would have an existing name: `storage_driver.c`.
    VolumeNameTaken,
    /// A bridge or an address range is used by another network: `virnetworkobj.c`, `bridge_driver.c`.
    AlreadyInUse,
    /// The storage pool does not run.
    PoolInactive,
    /// The network does not run.
    NetworkInactive,
    /// Nothing that is decided by.
    Nothing,
}

impl MessageFact {
    /// Reads libvirt's message. The daemon sends its messages in the C locale, in which it is started.
    pub(super) fn of(error: &LibvirtError) -> Self {
        let says = |text: &str| error.message.contains(text);
        match () {
            () if says("No space left on device") => Self::NoSpace,
            () if says("asynchronous jobs")
                || says("still being allocated")
                || says("still in use") =>
            {
                Self::InUseNow
            }
            () if says("qemu-img") && says("unexpected exit status") => {
                if says("Failed to get") && says("lock") {
                    Self::FileLocked
                } else {
                    Self::ConversionFailed
                }
            }
            () if says("not ready for pivot") => Self::NotReadyForPivot,
            () if says("Active console session") => Self::ConsoleOpen,
            () if says("already exists with uuid") => Self::NameTaken,
            () if says("already exists") => Self::Exists,
            () if says("storage volume name") && says("already in use") => Self::VolumeNameTaken,
            () if says("already in use") => Self::AlreadyInUse,
            () if says("storage pool") && says("is not active") => Self::PoolInactive,
            () if says("network") && says("is not active") => Self::NetworkInactive,
            () => Self::Nothing,
        }
    }
}

/// `VIR_ERR_RPC` is reported when the daemon ends during a call.
fn of_libvirt(error: &LibvirtError) -> Kind {
    use MessageFact as Fact;
    let fact = MessageFact::of(error);
    match fact {
        Fact::NoSpace => return Kind::NoSpace,
        Fact::InUseNow | Fact::FileLocked | Fact::NotReadyForPivot => return Kind::Busy,
        Fact::ConversionFailed => return Kind::Rejected,
        _ => {}
    }
    let exists = matches!(fact, Fact::Exists | Fact::NameTaken);
    match error.code {
        code::NO_DOMAIN | code::NO_STORAGE_VOL => Kind::Missing,
        code::NO_STORAGE_POOL => Kind::PoolMissing,
        code::NO_NETWORK => Kind::NetworkMissing,
        code::STORAGE_VOL_EXIST => Kind::Exists,
        code::OPERATION_INVALID if exists => Kind::Exists,
        code::OPERATION_INVALID if fact == Fact::PoolInactive => Kind::PoolInactive,
        code::OPERATION_INVALID if fact == Fact::NetworkInactive => Kind::NetworkInactive,
        code::OPERATION_INVALID => Kind::WrongState,
        code::OPERATION_FAILED if fact == Fact::ConsoleOpen => Kind::Busy,
        code::OPERATION_TIMEOUT => Kind::Busy,
        code::INVALID_ARG
        | code::OPERATION_FAILED
        | code::XML_ERROR
        | code::XML_DETAIL
        | code::CONFIG_UNSUPPORTED
        | code::XML_INVALID_SCHEMA => Kind::Rejected,
        code::INTERNAL_ERROR if exists || fact == Fact::VolumeNameTaken => Kind::Exists,
        code::RPC => Kind::OutcomeUnknown,
        code::OPERATION_DENIED => Kind::Denied,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Procedure;

    fn failed(code: i32, message: &str) -> LibvirtError {
        LibvirtError {
            code,
            message: message.to_owned(),
            procedure: Procedure::StorageVolCreateXmlFrom,
            domain: 18,
            level: 2,
        }
    }

    #[test]
    fn a_message_is_one_fact_and_its_code_says_what_that_means() {
        for (code, message, kind) in [
            (
                code::OPERATION_FAILED,
                "operation failed: Active console session exists for this domain",
                Kind::Busy,
            ),
            (
                code::OPERATION_TIMEOUT,
                "Timed out during operation: cannot acquire state change lock",
                Kind::Busy,
            ),
            (
                code::OPERATION_FAILED,
                "operation failed: network 'a' already exists with uuid b",
                Kind::Rejected,
            ),
            (
                code::INTERNAL_ERROR,
                "block copy still active: disk 'vda' not ready for pivot yet",
                Kind::Busy,
            ),
            (
                code::INTERNAL_ERROR,
                "storage volume name 'a' already in use.",
                Kind::Exists,
            ),
            (
                code::INTERNAL_ERROR,
                "bridge name 'a' already in use.",
                Kind::Other,
            ),
            (
                code::OPERATION_INVALID,
                "network 'a' is not active",
                Kind::NetworkInactive,
            ),
        ] {
            assert_eq!(of_libvirt(&failed(code, message)), kind, "{message}");
        }
        let taken = failed(code::INTERNAL_ERROR, "bridge name 'a' already in use.");
        assert_eq!(MessageFact::of(&taken), MessageFact::AlreadyInUse);
    }

    #[test]
    fn a_conversion_that_fails_is_not_tried_for_ever() {
        let kind = |message: &str| {
            let message = format!(
                "internal error: Child process (/usr/bin/qemu-img convert -f qcow2 -O qcow2 /i/a /i/b) \
                 unexpected {message}"
            );
            of_libvirt(&failed(code::INTERNAL_ERROR, &message))
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
