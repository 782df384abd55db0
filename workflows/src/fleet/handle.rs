//! Handles: the fleet's methods for one kind of object. Each handle borrows the fleet.
//!
//! A handle has no state of its own, so it is cheap to ask for one each time. Its methods are in the module
//! of its kind.

use super::Fleet;

macro_rules! handles {
    ($($(#[$doc:meta])* $accessor:ident -> $handle:ident;)+) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy)]
            pub struct $handle<'f> {
                pub(super) fleet: &'f Fleet,
            }
        )+

        impl Fleet {
            $(
                $(#[$doc])*
                pub fn $accessor(&self) -> $handle<'_> {
                    $handle { fleet: self }
                }
            )+
        }
    };
}

handles! {
    /// The fleet's VSIs.
    vsis -> VsiHandle;
    /// The fleet's data disks.
    disks -> DiskHandle;
    /// The fleet's base images.
    images -> ImageHandle;
    /// The fleet's hosts.
    hosts -> HostHandle;
    /// The fleet's networks.
    networks -> NetworkHandle;
    /// The fleet's history: events, runs, logs.
    history -> HistoryHandle;
    /// The fleet's snapshots.
    snapshots -> SnapshotHandle;
    /// The fleet's groups.
    groups -> GroupHandle;
    /// The fleet's pools.
    pools -> PoolHandle;
    /// The choice of hosts across the journals of a set.
    placements -> PlacementHandle;
    /// The fleet's quotas.
    quotas -> QuotaHandle;
    /// The fleet's API tokens.
    tokens -> TokenHandle;
    /// The fleet's server types.
    server_types -> ServerTypeHandle;
}
