//! Permits that no guard gave, for checks of a host's behaviour and for an administrator's acts on a simulated host.

use uuid::Uuid;

use crate::{
    guards::permit::Permit,
    ports::{
        Deletion, DeletionGround, DomainSpec, DomainStart, Leftovers, Undefinition, VolumeKey,
    },
};

/// To delete a volume.
pub fn deletion(key: &VolumeKey) -> Permit<Deletion> {
    Permit::unguarded(Deletion {
        key: key.clone(),
        ground: DeletionGround::Scratch,
    })
}

/// To define a domain.
pub fn definition(spec: &DomainSpec) -> Permit<DomainSpec> {
    Permit::unguarded(spec.clone())
}

/// To start a domain.
pub const fn start(uuid: Uuid) -> Permit<DomainStart> {
    Permit::unguarded(DomainStart { uuid })
}

/// To undefine a domain.
pub const fn undefinition(uuid: Uuid, leftovers: Leftovers) -> Permit<Undefinition> {
    Permit::unguarded(Undefinition { uuid, leftovers })
}
