//! Deliberate defects of the product that the sanctity game must find: commands as the sabotaged product carries
//! them out.

use vsiflow_engine::model::EntityId;
use vsiflow_workflows::{
    fleet::{Fleet, FleetError, RebuildRoom, Verdict},
    record::PowerAction,
};

use super::{commands, user::UserCommand, user_state::UserState};
use crate::{ownership, sabotage::Defect};

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
        let _ = commands::give(fleet, &user.slots, &before).await;
    }
    commands::give(fleet, &user.slots, &command).await
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
            restored.next_back().cloned().map(UserCommand::Restore)
        }
        _ => None,
    };
    let command = match command {
        UserCommand::Apply(slot, mut vsi) if defect == Some(Defect::RetainIgnored) => {
            (vsi.retain, vsi.disk_goes) = (false, true);
            UserCommand::Apply(slot, vsi)
        }
        command => command,
    };
    Sabotaged { before, command }
}

fn rebuilt_by_power(command: &UserCommand) -> Option<UserCommand> {
    match command {
        UserCommand::Power(slot, PowerAction::Stop | PowerAction::Restart, _)
        | UserCommand::Retry(slot) => Some(UserCommand::Rebuild(*slot, RebuildRoom::Beside)),
        _ => None,
    }
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
            &user.slots,
            &UserCommand::Rebuild(slot, RebuildRoom::Beside),
        )
        .await;
    }
}
