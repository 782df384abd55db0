//! What the user of a game ordered, by command, and what they know of each of their VSIs.

use std::collections::BTreeSet;

use uuid::Uuid;
use vsiflow_steps::guest::GuestType;

use super::oracle::{DiskId, Oracle};
use crate::documents::{Guest, VsiDocument};

/// What the user knows of a VSI.
#[derive(Clone, Debug, Default)]
pub struct KnownVsi {
    /// The newest document that is carried out: of an automatic policy, or approved.
    in_force: Option<VsiDocument>,
    /// The modes of the boot disk in the documents since it last settled.
    modes: BTreeSet<&'static str>,
    /// Whether it was ever seen settled.
    pub was_settled: bool,
    /// Whether a document's guest fails at its boot, by its own word.
    is_fatal: bool,
    /// Whether the open orders close as soon as no run is open.
    pub is_cancelled: bool,
}

impl KnownVsi {
    /// The user applies this document.
    pub fn applies(&mut self, vsi: &VsiDocument, oracle: &mut Oracle) {
        self.modes.insert(vsi.boot);
        self.is_fatal |= vsi.server.is_none() && vsi.guest == Guest::TooSmall;
        self.tell(vsi.uid, oracle);
    }

    /// It has settled as this document says.
    pub fn settled(&mut self, vsi: &VsiDocument, oracle: &mut Oracle) {
        (self.was_settled, self.is_cancelled) = (true, false);
        // A document that waits for its approval changes nothing.
        if !vsi.manual {
            self.modes = BTreeSet::from([vsi.boot]);
        }
        self.tell(vsi.uid, oracle);
    }

    /// The user was told that this document is carried out.
    pub fn carries_out(&mut self, vsi: &VsiDocument) {
        self.in_force = Some(vsi.clone());
    }

    /// Whether a document with an automatic policy orders another boot disk, after `before`.
    pub fn orders_another_boot_disk(&self, before: &VsiDocument, after: &VsiDocument) -> bool {
        let mut earlier = std::iter::once(before).chain(&self.in_force);
        !after.manual && earlier.any(|earlier| needs_another_boot_disk(earlier, after))
    }

    /// Tells the oracle what needs no order.
    pub fn tell(&self, uid: Uuid, oracle: &mut Oracle) {
        let boot = DiskId::Boot(uid);
        oracle.may_be_ephemeral(boot, self.modes.contains("ephemeral"));
        oracle.is_made_anew(boot, self.is_fatal && !self.was_settled);
    }
}

/// Whether a change from one document to another needs another boot disk.
fn needs_another_boot_disk(before: &VsiDocument, after: &VsiDocument) -> bool {
    let inputs = |vsi: &VsiDocument| {
        let is_read_once = matches!(
            vsi.server,
            None | Some(GuestType::HyperProtect | GuestType::Ignition)
        );
        let read = is_read_once.then(|| vsi.contract());
        (vsi.image, vsi.boot, read)
    };
    inputs(before) != inputs(after)
}

/// The boot disk of a VSI.
pub fn boot_disk(vsi: &VsiDocument) -> DiskId {
    DiskId::Boot(vsi.uid)
}

/// The disks of a VSI that guests write to.
pub fn disks(vsi: &VsiDocument) -> Vec<DiskId> {
    let data = vsi.disk.map(DiskId::Data);
    std::iter::once(boot_disk(vsi)).chain(data).collect()
}
