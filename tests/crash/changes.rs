//! A command at any moment: what is asked for while something ends is not lost.

use std::time::Duration;

use super::{
    check,
    documents::{self, Vsi, uuid},
    gate::Gate,
    matrix, outcome, ownership,
    story::delete,
    world::{FOREVER, World, in_virtual_time, user},
};

const WEB: u128 = 1;

fn web() -> Vsi {
    Vsi::new("web", WEB, "sim:a")
}

#[derive(Clone, Copy, Debug)]
enum Command {
    Change,
    Cancel,
    Delete,
}

/// Gives the command that long after the apply. Whether it still came in time is not the same at
/// every moment; that it is decided, and how, is.
async fn at(moment: Duration, command: Command) -> Result<(), String> {
    let world = World::new(None).await;
    let fleet = world
        .start(&Gate::safe())
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
        Command::Change => {
            let changed = documents::resolved(&[web().edition(2)]);
            fleet.apply(changed, user()).await.map_err(words)?;
            "Running"
        }
        Command::Cancel => {
            fleet.cancel(entity.clone(), user()).await.map_err(words)?;
            fleet.decided(&entity).await.map_err(words)?;
            fleet.retry(entity.clone(), user()).await.map_err(words)?;
            "Running"
        }
        Command::Delete => {
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

/// Milliseconds after which the VSI is ready when nobody says anything.
fn ready_ms() -> u64 {
    in_virtual_time(async {
        let world = World::new(None).await;
        let fleet = world.start(&Gate::safe()).await.unwrap();
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
    let commands = [Command::Change, Command::Cancel, Command::Delete];
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
