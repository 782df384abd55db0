//! The acts for which an order destroys what a guest wrote ([`crate::orders`]).

/// The boot disk is made anew because somebody asked for exactly that.
pub const REBUILD: &str = "rebuild";
/// The same where the pool has no room for both: the present disk is given up before the new one is made.
pub const REBUILD_IN_PLACE: &str = "rebuild_in_place";
/// The boot disk is made anew because of a change of the document.
pub const UPDATE: &str = "update";
/// Disks are replaced by their copies in a snapshot.
pub const RESTORE: &str = "restore";
/// The same where the pool has no room for both: the present boot disk is given up before the new one is made.
pub const RESTORE_IN_PLACE: &str = "restore_in_place";
/// The object is deleted with all that is its own.
pub const DELETE: &str = "delete";
/// The same of a member that its pool has no more: taken back if the pool has it again before anything is taken away.
pub const DELETE_SURPLUS: &str = "delete_surplus";
/// The members of a pool or a group are kept as its document says: those that are too many are deleted, and those
/// of an earlier template replaced.
pub const REPLACE_MEMBERS: &str = "replace_members";
/// A schedule deletes the snapshots that it took beyond those that its policy keeps.
pub const PRUNE: &str = "prune";
/// A boot disk is made anew after a boot that failed before the guest was ever ready.
pub const BOOT_AGAIN: &str = "boot_again";

/// The acts that make the present boot disk anew because somebody asked for exactly that.
pub(crate) const REBUILDS: [&str; 2] = [REBUILD, REBUILD_IN_PLACE];

/// The acts that replace disks by their copies in a snapshot.
pub(crate) const RESTORATIONS: [&str; 2] = [RESTORE, RESTORE_IN_PLACE];
