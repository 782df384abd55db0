//! What a fleet does with one kind of object: a handle for each, which borrows the fleet.
//!
//! A handle holds nothing of its own, so it costs nothing to ask for one each time. Its methods are in the room of
//! its kind.

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
    /// What happened in the fleet: events, runs, logs.
    history -> HistoryHandle;
    /// The fleet's snapshots.
    snapshots -> SnapshotHandle;
    /// The fleet's groups.
    groups -> GroupHandle;
    /// The fleet's pools.
    pools -> PoolHandle;
    /// The choice of hosts over several journals.
    placements -> PlacementHandle;
    /// The fleet's quotas.
    quotas -> QuotaHandle;
    /// The fleet's tokens of the API.
    tokens -> TokenHandle;
    /// The fleet's server types.
    server_types -> ServerTypeHandle;
}
