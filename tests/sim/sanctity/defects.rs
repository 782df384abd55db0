//! Deliberate defects of the product that the sanctity game must find: commands as the sabotaged product carries
//! them out.

use vsiflow_engine::model::EntityId;
use vsiflow_steps::ports::DomainState;
use vsiflow_workflows::{
    fleet::{Fleet, FleetError, ReplacementPlace, RestoreOptions, Verdict},
    record::PowerAction,
};

use super::{commands, pools::PoolCommand, user::UserCommand, user_state::UserState};
use crate::{
    documents::VsiDocument,
    ownership,
    sabotage::Defect,
    world::{CrashWorld, HOSTS},
};

/// What the sabotaged product does with a command: the one that it carries out before, and the one that it takes
/// the command for.
struct Sabotaged {
    before: Option<UserCommand>,
    command: UserCommand,
}

/// Gives a command to the product with this defect, if there is one.
pub async fn give(
    defect: Option<Defect>,
    fleet: &Fleet,
    user: &UserState,
    command: &UserCommand,
) -> Result<(), FleetError> {
    let Sabotaged { before, command } = sabotaged(defect, user, command.clone());
    if let Some(before) = before {
        // The user has not asked for it, and never learns how it ended.
        let _ = commands::give(fleet, user, &before).await;
    }
    commands::give(fleet, user, &command).await
}

fn sabotaged(defect: Option<Defect>, user: &UserState, command: UserCommand) -> Sabotaged {
    let before = match (defect, &command) {
        (Some(Defect::PowerRebuilds), command) => rebuilt_by_power(command),
        (Some(Defect::RetentionRebuilds), command) if user.has_forgotten_runs => {
            rebuilt_by_power(command)
        }
        (Some(Defect::RestoresAgain), UserCommand::Retry(slot) | UserCommand::Power(slot, ..)) => {
            let snapshots = user.snapshots.iter();
            let mut restored = snapshots.filter(|its| its.slot == *slot && its.was_restored);
            let last = restored.next_back().cloned();
            last.map(|snapshot| UserCommand::Restore(snapshot, RestoreOptions::default()))
        }
        (Some(Defect::UidsTaken), UserCommand::Impersonate(slot, impostor)) => {
            let vsi = user.slots[*slot].standing().cloned();
            let vsi = vsi.filter(|_| impostor.has_uid_of_disk());
            vsi.map(|vsi| {
                let disk_goes = true;
                UserCommand::Apply(*slot, Box::new(VsiDocument { disk_goes, ..vsi }))
            })
        }
        (Some(Defect::UidsTaken), UserCommand::DeleteImpostor(slot, impostor)) => {
            let (slot, orphan) = (*slot, false);
            match impostor {
                _ if impostor.has_uid_of_disk() => Some(UserCommand::DeleteDisk(slot)),
                _ if impostor.has_uid_of_vsi() => Some(UserCommand::Delete { slot, orphan }),
                _ => None,
            }
        }
        _ => None,
    };
    let command = match command {
        UserCommand::Apply(slot, mut vsi) if defect == Some(Defect::RetainIgnored) => {
            (vsi.retain, vsi.disk_goes) = (false, true);
            UserCommand::Apply(slot, vsi)
        }
        UserCommand::Pool(PoolCommand::Apply(template))
            if defect == Some(Defect::RetainRollsOut) =>
        {
            UserCommand::Pool(PoolCommand::Apply(template.deleting()))
        }
        command => command,
    };
    Sabotaged { before, command }
}

fn rebuilt_by_power(command: &UserCommand) -> Option<UserCommand> {
    match command {
        UserCommand::Power(slot, PowerAction::Stop | PowerAction::Restart, _)
        | UserCommand::Retry(slot) => Some(UserCommand::Rebuild(*slot, ReplacementPlace::Beside)),
        _ => None,
    }
}

/// With any edit, the sabotaged product makes a VSI that was never ready on another host, and leaves it where it was.
pub async fn move_away(world: &CrashWorld, user: &UserState, command: &UserCommand) {
    let UserCommand::Apply(slot, vsi) = command else {
        return;
    };
    let is_unready = !user.known[*slot].was_settled;
    let before = user.slots[*slot].standing();
    let Some(before) = before.filter(|_| is_unready && world.sabotage == Some(Defect::TwoHosts))
    else {
        return;
    };
    let old = world.hosts.sim(before.host).await.unwrap();
    let Some(domain) = old.with(|state| state.domains.get(&vsi.uid).cloned()).await else {
        return;
    };
    let other = HOSTS.iter().find(|host| **host != before.host).unwrap();
    let new = world.hosts.sim(other).await.unwrap();
    let disks = domain.spec.disks.iter().map(|disk| disk.path.clone());
    let mut files = Vec::new();
    for path in disks {
        let file = old.with(|state| state.by_path(&path).cloned()).await;
        files.extend(file.map(|file| (path, file)));
    }
    new.with(|state| {
        for (path, mut file) in files {
            file.tokens.clear();
            state.loose.insert(path, file);
        }
        let mut domain = domain;
        domain.end(DomainState::ShutOff);
        state.domains.insert(vsi.uid, domain);
    })
    .await;
    new.start_by_hand(vsi.uid).await;
}

/// What the sabotaged product does by itself.
pub async fn unasked(defect: Option<Defect>, fleet: &Fleet, user: &UserState) {
    if defect != Some(Defect::FailureRebuilds) {
        return;
    }
    let slots = user.slots.iter().enumerate();
    let entity = |uid| -> EntityId { ownership::entity(uid) };
    let failed = slots
        .filter(|(_, slot)| matches!(fleet.verdict(&entity(slot.uid())), Some(Verdict::Failed(_))));
    for (slot, _) in failed {
        let _ = commands::give(
            fleet,
            user,
            &UserCommand::Rebuild(slot, ReplacementPlace::Beside),
        )
        .await;
    }
}
