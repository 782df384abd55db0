//! The sanctity game: what a guest wrote is gone only if the user ordered exactly that.
//!
//! Guests on the simulated hosts write numbered tokens into their disks all the time ([`vsiflow_steps::sim`],
//! `tokens.rs`). A random user gives commands, an administrator works on the hosts behind vsiflow's back, hosts
//! lose power and start guests again, the process is killed, retention forgets runs, an older backup of the
//! journal is restored, and clocks jump. In every fourth game the user also drains hosts and pauses everything. A
//! game depends on its seed alone.
//!
//! **The oracle** ([`oracle`]) has one rule for each disk of a VSI and for each data disk. A disk is one
//! *incarnation* after another. All tokens of the present one must be read from some file of some host, and a
//! guest that runs must read all of them from the disk of its running definition. Otherwise the incarnation has
//! ended, and the user must have ordered that for this disk, by an order that is still open. One order ends at
//! most one incarnation. What a snapshot has is never lost before the user orders its deletion, either.
//!
//! An order is what the game's user confirmed, never what the journal has:
//!
//! | the user | orders the end of |
//! |---|---|
//! | applies a document that needs another boot disk, under an automatic policy | the boot disk |
//! | approves a change | the boot disk |
//! | rebuilds | the boot disk |
//! | restores a snapshot | each disk in it |
//! | deletes a VSI whose confirmed policy is `Delete` | the boot disk |
//! | deletes a data disk whose confirmed policy is `Delete` | the data disk |
//! | deletes a snapshot | its copies |
//! | deletes members of a pool, while its newest document says `Delete` | their data disks |
//!
//! It is open from the moment when the command is given, whether or not its answer arrives. It closes when it is
//! used, when the command is refused, when the VSI has settled, when a cancelled run has ended, and when a backup
//! is restored. Four losses need no order: a boot disk that was made under the mode `ephemeral`, one of a Hyper
//! Protect guest that failed fatally before it was ever ready, what the administrator replaced, and a layer that they
//! put over a disk between the look of a guard and its call, which no host can prevent.
//!
//! The oracle holds three more rules. What is exported of a disk has all of its tokens. The memory that a guest was
//! saved with is used up only by its start, or deleted with its VSI. No two guests have one MAC address. The boot disks of a pool's members need no order: its controller makes them
//! anew. After the administrator gave a guest an earlier definition, the tokens that only the layer of a snapshot has
//! need not be read by the guest, but must still be in some file.
//!
//! A block job of the administrator that is taken for a merge loses no token, since the copy has them all, so a unit
//! test of the step holds that rule.
//!
//! The watch ([`watch`]) is a path of the ports, below all others. It looks at the hosts around each call that
//! may destroy, so that a failure names the call, the steps under way, the disk and the token.

mod administrator;
mod commands;
mod defects;
mod export;
mod game;
mod host_care;
mod impostors;
mod oracle;
mod orders;
mod pools;
mod tests;
mod user;
mod user_state;
mod watch;

pub use watch::TokenWatch;
