//! Commands given at any moment of a run: a command that arrives while the run ends is not lost.

use std::time::Duration;

use super::{
    check,
    documents::{self, VsiDocument, uuid},
    gate::CrashGate,
    matrix, outcome, ownership,
    story::delete,
    world::{CrashWorld, FOREVER, in_virtual_time, user},
};

const WEB: u128 = 1;

fn web() -> VsiDocument {
    VsiDocument::new("web", WEB, "sim:a")
}

#[derive(Clone, Copy, Debug)]
enum ChangeCommand {
    Change,
    Cancel,
    Delete,
}

/// Gives the command this long after the apply. The moment decides whether it arrives in time, but in every
/// case it must be decided, in a permitted way.
async fn at(moment: Duration, command: ChangeCommand) -> Result<(), String> {
    let world = CrashWorld::new(None).await;
    let fleet = world
        .start(&CrashGate::safe())
        .await
        .map_err(|e| e.to_string())?;
    let entity = ownership::entity(uuid(WEB));
    let words = |error: vsiflow_workflows::fleet::FleetError| error.to_string();
    fleet
        .apply(documents::resolved(&[web()]), user())
        .await
        .map_err(words)?;
    tokio::time::sleep(moment).await;
    let expected = match command {
        ChangeCommand::Change => {
            let changed = documents::resolved(&[web().edition(2)]);
            fleet.apply(changed, user()).await.map_err(words)?;
            "Running"
        }
        ChangeCommand::Cancel => {
            fleet.cancel(entity.clone(), user()).await.map_err(words)?;
            fleet.decided(&entity).await.map_err(words)?;
            fleet.retry(entity.clone(), user()).await.map_err(words)?;
            "Running"
        }
        ChangeCommand::Delete => {
            delete(&fleet, "web", false).await.map_err(words)?;
            "Deleted"
        }
    };
    let decided = tokio::time::timeout(FOREVER, fleet.decided(&entity)).await;
    decided
        .map_err(|_| "it is never decided".to_owned())?
        .map_err(words)?;
    let end = outcome::end(&world, uuid(WEB));
    if end != expected {
        return Err(format!("it ends as {end} instead of {expected}"));
    }
    check::lives_by_the_journal(&world, &fleet)?;
    check::all(&world, &[("web", WEB, expected)]).await
}

/// Milliseconds after which the VSI is ready without a command.
fn ready_ms() -> u64 {
    in_virtual_time(async {
        let world = CrashWorld::new(None).await;
        let fleet = world.start(&CrashGate::safe()).await.unwrap();
        fleet
            .apply(documents::resolved(&[web()]), user())
            .await
            .unwrap();
        fleet.decided(&ownership::entity(uuid(WEB))).await.unwrap();
        world.clock.elapsed_ms()
    })
}

#[test]
fn a_command_at_any_moment_is_decided() {
    let ready = ready_ms();
    // The moments at which the last step ends are the critical ones.
    let sparse = (0..ready).step_by(60);
    let moments: Vec<u64> = sparse.chain(ready - 12..ready + 4).collect();
    let commands = [
        ChangeCommand::Change,
        ChangeCommand::Cancel,
        ChangeCommand::Delete,
    ];
    let cases: Vec<_> = moments
        .iter()
        .flat_map(|moment| commands.map(|command| (Duration::from_millis(*moment), command)))
        .collect();
    let wrong = matrix::in_parallel(&cases, |(moment, command)| {
        in_virtual_time(at(*moment, *command))
            .map_err(|error| format!("{command:?} after {moment:?} of {ready} ms: {error}"))
    });
    let first = wrong
        .get(..wrong.len().min(5))
        .unwrap_or_default()
        .join("\n");
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{first}",
        wrong.len(),
        cases.len()
    );
}
