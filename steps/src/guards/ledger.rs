//! What a step reads and records about a volume in the journal's ledger of objects: that it is begun, that a guest may
//! write to it, and that an order to destroy it is spent.

use vsiflow_engine::{
    model::{Failure, Text},
    step::{ObjectFact, StepContext},
};

use super::{data_disks, incarnation};
use crate::{
    names,
    ports::{DeletionGround, HostPorts, Hosts, VolumeKey},
};

/// Spends the order to destroy a volume that a guest may have written to; durable when it returns.
///
/// # Errors
/// Blocked, `VSI0041`, without an order.
pub async fn spend_order(cx: &StepContext, key: &VolumeKey) -> Result<(), Failure> {
    let object = object_name(key);
    cx.ledger.record(ObjectFact::Destroying { object }).await
}

/// Records on which ground a volume is about to be deleted: the order is spent, or the other ground is noted. Durable
/// when it returns.
///
/// # Errors
/// Blocked, `VSI0041`, if an order is the ground and there is none; when the journal fails.
pub(super) async fn record_ground(
    cx: &StepContext,
    key: &VolumeKey,
    ground: DeletionGround,
) -> Result<(), Failure> {
    let ground = match ground {
        DeletionGround::Ordered => return spend_order(cx, key).await,
        DeletionGround::Scratch => "scratch, in which no guest had anything to keep",
        DeletionGround::Merged => "merged into the disk below it",
        DeletionGround::Disposable => "disposable, made for one start of its guest",
    };
    let (object, ground) = (object_name(key), Text::new(ground));
    let fact = ObjectFact::Discarding { object, ground };
    cx.ledger.record(fact).await
}

/// Checks that somebody ordered to destroy a volume that a guest may have written to, before its guest gets another
/// in its place. Nothing is recorded.
///
/// # Errors
/// Blocked, `VSI0041`, without an order.
pub async fn replacement_is_ordered(
    cx: &StepContext,
    replaced: Option<&VolumeKey>,
) -> Result<(), Failure> {
    let Some(key) = replaced else {
        return Ok(());
    };
    let object = object_name(key);
    cx.ledger.record(ObjectFact::Replacing { object }).await
}

/// Records that a volume is whole, and that a guest may write to it from now on; of a data disk in its own stream, too.
/// One that the host does not find has no identity; it may come back.
///
/// # Errors
/// Port errors by their kind; when the journal fails.
pub async fn record_made(
    cx: &StepContext,
    ports: &HostPorts,
    key: &VolumeKey,
) -> Result<(), Failure> {
    let identity = match ports.storage.volume(key).await? {
        Some(volume) => {
            let recorded = incarnation::recorded(cx, key);
            incarnation::identity(ports, &volume, recorded.as_ref()).await?
        }
        None => Text::default(),
    };
    let object = object_name(key);
    let fact = ObjectFact::Made {
        object,
        identity: identity.clone(),
    };
    cx.ledger.record(fact).await?;
    incarnation::record_file(cx, key, identity).await
}

/// Records again what identifies the boot disk of a domain that is about to start: its file may have been replaced
/// while it was off. From now on an order for the disk means the file that the guest has.
///
/// # Errors
/// As for [`record_made`].
pub async fn record_started(
    cx: &StepContext,
    ports: &HostPorts,
    volumes: &[VolumeKey],
) -> Result<(), Failure> {
    let is_boot_disk = |key: &VolumeKey| names::vsi_of_boot_disk(&key.name).is_some();
    let disk = volumes
        .iter()
        .find(|key| is_boot_disk(key) && is_in_use(cx, key) && is_written(cx, key));
    match disk {
        Some(key) => record_made(cx, ports, key).await,
        None => Ok(()),
    }
}

/// The name of a volume in the journal's ledger of objects.
pub fn object_name(key: &VolumeKey) -> Text {
    Text::new(key.to_string())
}

/// Whether this journal recorded that it makes the volume, and no definition named it since. In a journal of an
/// earlier version, which recorded no such thing, `was_intended` says it. It says nothing in a journal that may have
/// forgotten what followed the intent: the volume may be whole since then.
pub fn is_begun(cx: &StepContext, hosts: &dyn Hosts, key: &VolumeKey, was_intended: bool) -> bool {
    let objects = cx.ledger.objects();
    let is_by_intent = || was_intended && objects.newest.is_none() && !hosts.has_forgotten();
    objects.begun.contains(&object_name(key)) || is_by_intent()
}

/// Records that the step is about to make a volume under a name that nothing had before.
///
/// # Errors
/// When the journal fails.
pub async fn record_begun(cx: &StepContext, key: &VolumeKey) -> Result<(), Failure> {
    let object = object_name(key);
    cx.ledger.record(ObjectFact::Begun { object }).await
}

/// Records that the definition names the volume.
///
/// # Errors
/// When the journal fails.
pub async fn record_in_use(cx: &StepContext, key: &VolumeKey) -> Result<(), Failure> {
    let object = object_name(key);
    cx.ledger.record(ObjectFact::InUse { object }).await
}

/// Records that the volume is gone; of a data disk in its own stream, too.
///
/// # Errors
/// When the journal fails.
pub async fn record_gone(cx: &StepContext, key: &VolumeKey) -> Result<(), Failure> {
    let object = object_name(key);
    cx.ledger.record(ObjectFact::Gone { object }).await?;
    data_disks::record_gone(cx, key).await
}

/// Whether the journal knows that the entity began to make the volume, or which file it made. A journal that was
/// restored from a backup does not know what became of a volume that was begun, and so no file of it.
pub fn is_recorded(cx: &StepContext, key: &VolumeKey) -> bool {
    let (objects, object) = (cx.ledger.objects(), object_name(key));
    let identity = objects.made.get(&object);
    objects.begun.contains(&object)
        || identity.is_some_and(|identity| !identity.as_str().is_empty())
}

/// Whether the definition of the VSI names the volume.
pub fn is_in_use(cx: &StepContext, key: &VolumeKey) -> bool {
    let used = cx.ledger.objects().in_use.as_ref();
    used.is_some_and(|used| used.object == object_name(key))
}

/// Whether the journal knows the volume as one that a guest may have written to.
pub fn is_written(cx: &StepContext, key: &VolumeKey) -> bool {
    cx.ledger.objects().made.contains_key(&object_name(key))
}
