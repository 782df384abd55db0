//! The end of a game: there are no more faults, and everything must reach its desired state.

use std::time::Duration;

use vsiflow_engine::model::{NodeState, RunResult};
use vsiflow_workflows::fleet::{Fleet, FleetError, Verdict};

use super::{
    game::SimGame,
    plan::{Slot, UserAction},
    weather,
};
use crate::{check, documents::Guest, gate::CrashGate, ownership, world::user};

const CALM: Duration = Duration::from_secs(20 * 60);
const ROUNDS: u32 = 12;

pub async fn settle(game: &mut SimGame) -> Result<(), String> {
    weather::clear(&game.world).await;
    calm(game).await?;
    let gate = CrashGate::safe();
    let fleet = game.start(&gate).await?;
    for slot in &game.slots {
        game.approve_and_start(&fleet, slot)
            .await
            .map_err(|e| format!("while it settles: {e}"))?;
    }
    for round in 0..ROUNDS {
        tokio::time::sleep(CALM).await;
        game.free_deleted_names();
        if !insist(game, &fleet, round)
            .await
            .map_err(|e| format!("while it settles: {e}"))?
        {
            return finish(game, &fleet, &gate).await;
        }
    }
    let ends: Vec<_> = game
        .slots
        .iter()
        .filter(|slot| !ends_well(game, slot, &fleet))
        .map(|slot| describe(slot, &fleet))
        .collect();
    Err(format!("it never settles: {}", ends.join("; ")))
}

/// Waits without any command. All delays that end automatically must end.
async fn calm(game: &SimGame) -> Result<(), String> {
    let gate = CrashGate::safe();
    let _fleet = game.start(&gate).await?;
    tokio::time::sleep(CALM).await;
    gate.die();
    let ledger = game.world.audit.ledger();
    let open = ledger.runs.iter().filter(|(_, run)| run.result().is_none());
    for (id, run) in open {
        for (node, state) in &run.nodes {
            if let NodeState::Delayed { failure, .. } = state {
                return Err(format!(
                    "after {CALM:?} of calm {node} of run {id} still waits: {failure}"
                ));
            }
        }
    }
    Ok(())
}

/// Retries the VSIs that have not settled, as a user would. Returns whether there were any.
async fn insist(game: &SimGame, fleet: &Fleet, round: u32) -> Result<bool, FleetError> {
    let mut open = false;
    for slot in &game.slots {
        if ends_well(game, slot, fleet) {
            continue;
        }
        open = true;
        let entity = ownership::entity(slot.uid());
        // An object that was deleted by hand is made again only by a new run, and a boot disk only by an order. A
        // deletion that was cancelled is ordered again.
        if matches!(slot.desired, UserAction::Gone(_)) && !game.forgotten.contains(&slot.uid()) {
            game.delete_again(fleet, slot).await?;
        } else if round > 0
            && round.is_multiple_of(2)
            && matches!(slot.desired, UserAction::There(_))
        {
            fleet.cancel(entity.clone(), user()).await?;
            tokio::time::sleep(Duration::from_secs(60)).await;
            game.rebuild(fleet, slot).await?;
        } else if round > 0 {
            // A start is refused while the boot disk waits for its order.
            game.approve_and_start(fleet, slot).await?;
        }
        fleet.retry(entity, user()).await?;
    }
    Ok(open)
}

fn ends_well(game: &SimGame, slot: &Slot, fleet: &Fleet) -> bool {
    let verdict = fleet.verdict(&ownership::entity(slot.uid()));
    let code = match &verdict {
        Some(Verdict::Blocked(failure)) => failure.code.as_str(),
        _ => "",
    };
    match &slot.desired {
        UserAction::Nothing => true,
        UserAction::Gone(_) => false,
        UserAction::There(vsi) => match vsi.fate() {
            Guest::Good | Guest::GoesOff => verdict == Some(Verdict::Reached),
            Guest::NoWorkload => code == "VSI0402",
            Guest::TooSmall if vsi.server.is_some() => boot_failed(game, slot, "VSI0506"),
            Guest::TooSmall => boot_failed(game, slot, "VSI0501"),
            Guest::Hangs => boot_failed(game, slot, "VSI0502"),
        },
    }
}

/// Whether the run of the newest desired state failed with this code, even if it is tried again now.
fn boot_failed(game: &SimGame, slot: &Slot, code: &str) -> bool {
    let ledger = game.world.audit.ledger();
    let Some(entity) = ledger.vsi(slot.uid()) else {
        return false;
    };
    let newest = entity.desired.as_ref().map(|desired| desired.generation);
    let last = entity
        .last
        .as_ref()
        .filter(|last| Some(last.generation) == newest);
    matches!(last.map(|last| &last.result), Some(RunResult::Failed(failure)) if failure.code.as_str() == code)
}

fn describe(slot: &Slot, fleet: &Fleet) -> String {
    let entity = ownership::entity(slot.uid());
    let (verdict, obstacle) = (fleet.verdict(&entity), fleet.obstacle(&entity));
    format!(
        "{} ({}): {:?}, {verdict:?}, {obstacle:?}",
        slot.name,
        slot.uid(),
        slot.desired
    )
}

async fn finish(game: &SimGame, fleet: &Fleet, gate: &CrashGate) -> Result<(), String> {
    check::lives_by_the_journal(&game.world, fleet)?;
    // The process dies first, because it may be trying failed boots again.
    gate.die();
    check::all(&game.world, &[]).await?;
    let there = |uuid| {
        let forgotten = game.forgotten.contains(&uuid);
        let is_desired =
            |slot: &Slot| slot.uid() == uuid && matches!(slot.desired, UserAction::There(_));
        forgotten || game.slots.iter().any(is_desired)
    };
    weather::leftovers(&game.world, there).await?;
    for slot in &game.slots {
        history(fleet, slot).await?;
    }
    Ok(())
}

async fn history(fleet: &Fleet, slot: &Slot) -> Result<(), String> {
    if matches!(slot.desired, UserAction::There(_)) {
        let lines = fleet.history().lines("default", slot.name).await;
        lines.map_err(|error| format!("the history of {} is unreadable: {error}", slot.name))?;
    }
    Ok(())
}
