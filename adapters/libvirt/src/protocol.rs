//! libvirt's remote protocol: procedures, their values and their flags.
//!
//! Source of everything here: libvirt's `src/remote/remote_protocol.x` and `include/libvirt/*.h` (9.0.0).
//! Names are libvirt's. A handle is a plain value that identifies an object on the wire; it keeps nothing
//! open.
//!
//! The procedures are methods of [`Calls`](crate::Calls), in one file for each kind of object.

mod block;
mod domain;
mod domain_types;
mod host;
mod network;
mod procedure;
mod stats;
mod storage;

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use block::*;
pub use domain_types::*;
pub use host::*;
pub use network::*;
pub use procedure::Procedure;
pub use stats::*;
pub use storage::*;

/// The program of hypervisor calls (`REMOTE_PROGRAM`).
pub(crate) const REMOTE_PROGRAM: u32 = 0x2000_8086;
/// The program of calls that only QEMU's driver has (`QEMU_PROGRAM` in libvirt's
/// `src/remote/qemu_protocol.x`).
pub(crate) const QEMU_PROGRAM: u32 = 0x2000_8087;
/// The program of keep-alive messages (`KEEPALIVE_PROGRAM` in libvirt's
/// `src/rpc/virkeepaliveprotocol.x`).
pub(crate) const KEEPALIVE_PROGRAM: u32 = 0x6b65_6570;
/// The version of all programs.
pub(crate) const VERSION: u32 = 1;
/// `KEEPALIVE_PROC_PING`.
pub(crate) const KEEPALIVE_PING: i32 = 1;
/// `KEEPALIVE_PROC_PONG`.
pub(crate) const KEEPALIVE_PONG: i32 = 2;

/// A UUID on the wire: its 16 bytes, without a length.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uuid(pub uuid::Uuid);

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<uuid::Uuid> for Uuid {
    fn from(uuid: uuid::Uuid) -> Self {
        Self(uuid)
    }
}

// XDR's fixed opaque of 16 bytes has no length; four big-endian words are the same bytes.
impl Serialize for Uuid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = self.0.as_u128();
        [96, 64, 32, 0]
            .map(|shift| (value >> shift) as u32)
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Uuid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let words = <[u32; 4]>::deserialize(deserializer)?;
        let value = words
            .iter()
            .fold(0_u128, |value, word| (value << 32) | u128::from(*word));
        Ok(Self(uuid::Uuid::from_u128(value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xdr;

    #[test]
    fn a_uuid_is_its_sixteen_bytes() {
        let uuid = Uuid(uuid::Uuid::from_bytes(*b"0123456789abcdef"));
        let bytes = xdr::to_bytes(&uuid).unwrap();
        assert_eq!(bytes, b"0123456789abcdef");
        assert_eq!(xdr::from_bytes::<Uuid>(&bytes).unwrap(), uuid);
    }
}
