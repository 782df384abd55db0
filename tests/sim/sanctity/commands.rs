//! How the user of a sanctity game gives a command.

use futures::{FutureExt as _, future::BoxFuture};
use vsiflow_engine::model::Timestamp;
use vsiflow_workflows::fleet::{Fleet, FleetError, ShutdownPolicy, SnapshotRequest};

use super::{user::UserCommand, user_state::UserState};
use crate::{documents, ownership, sim::plan::Slot, world::user};

/// Gives a command, and waits for its answer.
pub fn give<'a>(
    fleet: &'a Fleet,
    state: &'a UserState,
    command: &'a UserCommand,
) -> BoxFuture<'a, Result<(), FleetError>> {
    let slots = &state.slots;
    match command {
        UserCommand::Pool(command) => match &state.pool {
            Some(pool) => pool.give(fleet, command).boxed(),
            None => std::future::ready(Ok(())).boxed(),
        },
        UserCommand::Hosts(care) => care.give(fleet).boxed(),
        UserCommand::Take { .. } | UserCommand::Restore(..) | UserCommand::DeleteSnapshot(_) => {
            about_snapshots(fleet, slots, command).boxed()
        }
        UserCommand::Cancel(_) | UserCommand::Retry(_) | UserCommand::Look => {
            about_work(fleet, slots, command).boxed()
        }
        UserCommand::Resume | UserCommand::PruneImages | UserCommand::ForgetRuns => {
            about_work(fleet, slots, command).boxed()
        }
        _ => about_vsis(fleet, slots, command).boxed(),
    }
}

async fn about_vsis(
    fleet: &Fleet,
    slots: &[Slot],
    command: &UserCommand,
) -> Result<(), FleetError> {
    let vsis = fleet.vsis();
    match command {
        UserCommand::Apply(_, vsi) => {
            let resolved = documents::resolved(std::slice::from_ref(vsi));
            Box::pin(fleet.apply(resolved, user())).await.map(drop)
        }
        UserCommand::Delete { slot, orphan } => {
            let name = slots[*slot].name;
            vsis.delete("default", name, *orphan, user())
                .await
                .map(drop)
        }
        UserCommand::DeleteDisk(slot) => {
            let Some(disk) = slots[*slot].vsi().and_then(|vsi| vsi.disk) else {
                return Ok(());
            };
            let name = documents::disk_name(disk);
            let deleted = fleet.disks().delete("default", &name, false, user());
            deleted.await.map(drop)
        }
        UserCommand::Impersonate(slot, impostor) => match slots[*slot].standing() {
            Some(vsi) => impostor.apply(fleet, vsi).await,
            None => Ok(()),
        },
        UserCommand::DeleteImpostor(_, impostor) => impostor.delete(fleet).await,
        UserCommand::Power(slot, action, force) => {
            let (timeout_s, force) = (None, *force);
            let how = ShutdownPolicy { timeout_s, force };
            let done = vsis.power("default", slots[*slot].name, *action, how, user());
            done.await.map(drop)
        }
        UserCommand::Approve(slot) => {
            let names = [slots[*slot].name.to_owned()];
            vsis.approve("default", &names, user()).await.map(drop)
        }
        UserCommand::Rebuild(slot, room) => {
            let rebuilt = vsis.rebuild("default", slots[*slot].name, *room, user());
            rebuilt.await.map(drop)
        }
        _ => Ok(()),
    }
}

async fn about_snapshots(
    fleet: &Fleet,
    slots: &[Slot],
    command: &UserCommand,
) -> Result<(), FleetError> {
    let snapshots = fleet.snapshots();
    match command {
        UserCommand::Take { snapshot, memory } => {
            let request = SnapshotRequest {
                name: Some(snapshot.name.clone()),
                uid: Some(snapshot.uid),
                memory: *memory,
                quiesce: false,
            };
            let taken = snapshots.take("default", slots[snapshot.slot].name, request, user());
            taken.await.map(drop)
        }
        UserCommand::Restore(snapshot, options) => {
            let restored = snapshots.restore("default", &snapshot.name, *options, user());
            restored.await.map(drop)
        }
        UserCommand::DeleteSnapshot(snapshot) => {
            let deleted = snapshots.delete("default", &snapshot.name, false, user());
            deleted.await.map(drop)
        }
        _ => Ok(()),
    }
}

async fn about_work(
    fleet: &Fleet,
    slots: &[Slot],
    command: &UserCommand,
) -> Result<(), FleetError> {
    let entity = |slot: &usize| ownership::entity(slots[*slot].uid());
    match command {
        UserCommand::Cancel(slot) => fleet.cancel(entity(slot), user()).await.map(drop),
        UserCommand::Retry(slot) => fleet.retry(entity(slot), user()).await.map(drop),
        UserCommand::Look => fleet.hosts().scan(true).await.map(drop),
        UserCommand::Resume => {
            let open = fleet.interrupted().await?;
            fleet.resume(open, user()).await
        }
        UserCommand::PruneImages => {
            for image in fleet.images().unneeded(0).await? {
                fleet.images().remove(&image, user()).await?;
            }
            Ok(())
        }
        UserCommand::ForgetRuns => fleet.forget_ended(Timestamp(u64::MAX)).await.map(drop),
        _ => Ok(()),
    }
}
