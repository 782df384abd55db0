//! Decides which members may leave their host. Pure.

use crate::spec::{DeletionPolicy, vsi::BootDiskMode};

use super::MemberState;

/// The state of a VSI on a host that is drained.
#[derive(Clone, Debug)]
pub struct EvictionView {
    /// Its membership in a pool; `None` for a VSI without a pool.
    pub member: Option<EvictedMember>,
    /// How its boot disk is made.
    pub boot_disk: BootDiskMode,
    /// Its existing data disks.
    pub disks: Vec<(String, DeletionPolicy)>,
}

/// The state of a pool member for an eviction.
#[derive(Clone, Copy, Debug)]
pub struct EvictedMember {
    /// Its state.
    pub state: MemberState,
    /// Whether the template permits losing the content of its disks.
    pub evictable: bool,
    /// Whether the template permits several hosts.
    pub placed: bool,
    /// Whether the member is cordoned.
    pub cordoned: bool,
    /// Whether no order permits its pool to replace members.
    pub held: bool,
    /// Whether its number is within the pool's replicas, and the pool is not being deleted.
    pub stays: bool,
}

/// Why a VSI stays on its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeepReason {
    /// It is not a pool member, so it would not be made on another host.
    NoMember,
    /// It is being deleted, or is about to be, for another reason.
    Leaves,
    /// The member is cordoned.
    Cordoned,
    /// No order permits its pool to replace members.
    Held,
    /// It is off or suspended, by a command.
    Off,
    /// Its host does not answer, or its record cannot be read.
    Unknown,
    /// Its template names one host.
    OneHost,
    /// Its boot disk holds what the guest wrote.
    BootDisk,
    /// It has data disks.
    DataDisk(String),
    /// This data disk is never deleted.
    RetainedDisk(String),
}

impl std::fmt::Display for KeepReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoMember => f.write_str("it is not a member of a pool"),
            Self::Leaves => f.write_str("it is being deleted, or its pool is about to delete it"),
            Self::Cordoned => f.write_str("the member is cordoned"),
            Self::Held => f.write_str(
                "what its pool was ordered was ordered before the journal was restored: apply its document again",
            ),
            Self::Off => f.write_str("it is off or suspended, as requested"),
            Self::Unknown => f.write_str("its host does not answer, or its record cannot be read"),
            Self::OneHost => {
                f.write_str("its template names one host: it has no placement among several")
            }
            Self::BootDisk => f.write_str(
                "its boot disk is on the host: it is not ephemeral, and the template is not evictable",
            ),
            Self::DataDisk(name) => write!(
                f,
                "its data disk {name} is on the host, and the template is not evictable"
            ),
            Self::RetainedDisk(name) => write!(
                f,
                "its data disk {name} is on the host, and its deletionPolicy is Retain"
            ),
        }
    }
}

impl EvictionView {
    /// Why it stays; `None` if it may leave.
    pub fn keeps(&self) -> Option<KeepReason> {
        let Some(member) = self.member else {
            return Some(KeepReason::NoMember);
        };
        match member.state {
            MemberState::Deleting { .. } => return Some(KeepReason::Leaves),
            MemberState::Unknown => return Some(KeepReason::Unknown),
            MemberState::Off => return Some(KeepReason::Off),
            MemberState::Ready | MemberState::Busy | MemberState::Stuck => {}
        }
        if !member.stays {
            return Some(KeepReason::Leaves);
        }
        if member.cordoned {
            return Some(KeepReason::Cordoned);
        }
        if member.held {
            return Some(KeepReason::Held);
        }
        if !member.placed {
            return Some(KeepReason::OneHost);
        }
        self.local_data(member.evictable)
    }

    /// The local data that it would lose without permission. A retained disk is never lost, whatever
    /// the template permits.
    fn local_data(&self, evictable: bool) -> Option<KeepReason> {
        let retained = |(_, policy): &&(String, DeletionPolicy)| *policy != DeletionPolicy::Delete;
        if let Some((name, _)) = self.disks.iter().find(retained) {
            return Some(KeepReason::RetainedDisk(name.clone()));
        }
        if evictable {
            return None;
        }
        if let Some((name, _)) = self.disks.first() {
            return Some(KeepReason::DataDisk(name.clone()));
        }
        (self.boot_disk != BootDiskMode::Ephemeral).then_some(KeepReason::BootDisk)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn member(evictable: bool) -> EvictedMember {
        EvictedMember {
            state: MemberState::Ready,
            evictable,
            placed: true,
            cordoned: false,
            held: false,
            stays: true,
        }
    }

    fn view(member: EvictedMember, boot_disk: BootDiskMode) -> EvictionView {
        EvictionView {
            member: Some(member),
            boot_disk,
            disks: Vec::new(),
        }
    }

    #[test]
    fn a_member_without_local_data_leaves() {
        assert_eq!(view(member(false), BootDiskMode::Ephemeral).keeps(), None);
        for lasts in [BootDiskMode::Copy, BootDiskMode::Overlay] {
            let kept = view(member(false), lasts).keeps();
            assert_eq!(kept, Some(KeepReason::BootDisk));
            assert_eq!(view(member(true), lasts).keeps(), None);
        }
    }

    #[test]
    fn a_retained_disk_stays_whatever_the_template_permits() {
        let mut view = view(member(true), BootDiskMode::Ephemeral);
        view.disks = vec![("a".to_owned(), DeletionPolicy::Delete)];
        assert_eq!(view.keeps(), None);
        view.disks.push(("b".to_owned(), DeletionPolicy::Retain));
        let kept = view.keeps();
        assert_eq!(kept, Some(KeepReason::RetainedDisk("b".to_owned())));
    }

    #[test]
    fn what_nobody_would_make_again_stays() {
        let alone = EvictionView {
            member: None,
            ..view(member(true), BootDiskMode::Ephemeral)
        };
        assert_eq!(alone.keeps(), Some(KeepReason::NoMember));
        let of = |member| view(member, BootDiskMode::Ephemeral).keeps();
        let cordoned = EvictedMember {
            cordoned: true,
            ..member(true)
        };
        assert_eq!(of(cordoned), Some(KeepReason::Cordoned));
        let surplus = EvictedMember {
            stays: false,
            ..member(true)
        };
        assert_eq!(of(surplus), Some(KeepReason::Leaves));
        let pinned = EvictedMember {
            placed: false,
            ..member(true)
        };
        assert_eq!(of(pinned), Some(KeepReason::OneHost));
        for (state, why) in [
            (MemberState::Off, KeepReason::Off),
            (MemberState::Unknown, KeepReason::Unknown),
            (MemberState::Deleting { stuck: true }, KeepReason::Leaves),
        ] {
            let member = EvictedMember {
                state,
                ..member(true)
            };
            assert_eq!(of(member), Some(why));
        }
    }

    proptest! {
        /// Nothing that holds data leaves without the owner's permission.
        #[test]
        fn local_data_never_leaves_unasked(
            ephemeral: bool, disks in prop::collection::vec(any::<bool>(), 0..4), placed: bool,
            cordoned: bool, stays: bool,
        ) {
            let boot_disk = if ephemeral { BootDiskMode::Ephemeral } else { BootDiskMode::Copy };
            let policy = |retained| if retained { DeletionPolicy::Retain } else { DeletionPolicy::Delete };
            let disks: Vec<_> = disks
                .into_iter()
                .map(|retained| ("d".to_owned(), policy(retained)))
                .collect();
            let of = |evictable| {
                let member = EvictedMember { placed, cordoned, stays, ..member(evictable) };
                EvictionView { disks: disks.clone(), ..view(member, boot_disk) }
            };
            if of(false).keeps().is_none() {
                prop_assert!(ephemeral && disks.is_empty());
            }
            if of(true).keeps().is_none() {
                prop_assert!(disks.iter().all(|(_, disk_policy)| *disk_policy == DeletionPolicy::Delete));
            }
        }
    }
}
