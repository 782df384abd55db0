//! What must hold when a story is over, or a process has just died.

use std::collections::BTreeSet;

use serde_json::Value;
use vsiflow_engine::{audit::Audit, blob::Blobs as _, replay::replay, secret::Secrets as _};
use vsiflow_workflows::fleet::{Fleet, Verdict};

use super::{
    audit::Ledger,
    documents,
    gate::Gate,
    outcome,
    stories::End,
    world::{JOURNAL, World},
};

/// All of what was acknowledged is in the journal, and nothing else.
pub async fn acknowledged_is_there(world: &World) -> Result<(), String> {
    let there = world
        .journals
        .current()
        .read_all(0, usize::MAX)
        .await
        .map_err(|e| e.to_string())?;
    let ledger = world.audit.ledger();
    if there != ledger.records {
        return Err("the journal is not what it acknowledged".to_owned());
    }
    Ok(())
}

/// Everything that must hold at a story's end.
pub async fn all(world: &World, ends: &[End]) -> Result<(), String> {
    world.audit.verdict()?;
    acknowledged_is_there(world).await?;
    chains(world).await?;
    let fleet = world
        .start(&Gate::safe())
        .await
        .map_err(|e| format!("no start: {e}"))?;
    replays(world).await?;
    for (name, number, expected) in ends {
        history(&fleet, name).await?;
        let end = outcome::end(world, documents::uuid(*number));
        if end != *expected {
            return Err(format!("{name} ends as {end} instead of {expected}"));
        }
    }
    no_orphan_secret(world).await
}

/// Both chains, computed again from the stored bytes.
async fn chains(world: &World) -> Result<(), String> {
    let journal = world.journals.current();
    let audit = Audit {
        journal: journal.as_ref(),
        blobs: world.blobs.as_ref(),
        journal_id: JOURNAL,
    };
    let report = audit
        .verify(None, None)
        .await
        .map_err(|error| error.to_string())?;
    if report.is_sound() {
        Ok(())
    } else {
        Err(format!("the chains are broken: {:?}", report.violations))
    }
}

/// Folded from scratch, the journal gives the states that lived, and all that the engine did by
/// itself is what the pure core calls for.
async fn replays(world: &World) -> Result<(), String> {
    let records = world
        .journals
        .current()
        .read_all(0, usize::MAX)
        .await
        .map_err(|e| e.to_string())?;
    let again = Ledger::folded(&records);
    {
        let ledger = world.audit.ledger();
        if again.entities != ledger.entities || again.runs != ledger.runs {
            return Err("replayed, the journal gives another state".to_owned());
        }
    }
    let replayed = replay(world.journals.current().as_ref(), true).await;
    replayed
        .map(drop)
        .map_err(|error| format!("the journal deviates: {error}"))
}

/// What a living process holds in memory is what the journal says.
pub fn lives_by_the_journal(world: &World, fleet: &Fleet) -> Result<(), String> {
    let ledger = world.audit.ledger();
    for (id, state) in &ledger.entities {
        let settled = fleet.verdict(id) == Some(Verdict::Reached);
        if settled != state.is_settled() {
            return Err(format!(
                "{id}: the process knows another state than its journal"
            ));
        }
    }
    let known = ledger
        .entities
        .values()
        .map(|entity| entity.runs.len())
        .sum::<usize>();
    if fleet.history().runs().len() != known {
        return Err("the process knows other runs than its journal".to_owned());
    }
    Ok(())
}

async fn history(fleet: &Fleet, name: &str) -> Result<(), String> {
    let lines = fleet.history().lines("default", name).await;
    let lines = lines.map_err(|error| format!("the history of {name} is unreadable: {error}"))?;
    let ordered = lines.windows(2).all(|pair| pair[0].offset < pair[1].offset);
    if lines.is_empty() || !ordered {
        return Err(format!("the history of {name} is empty or out of order"));
    }
    Ok(())
}

/// Every secret that is kept is named by a VSI that lives.
async fn no_orphan_secret(world: &World) -> Result<(), String> {
    // A crash between a desired state and the erasure of what it replaced leaves a secret whose owner
    // still names it.
    let (mut named, mut maybe) = (BTreeSet::new(), BTreeSet::new());
    let entities = world.audit.ledger().entities.clone();
    for entity in entities.values() {
        let state = entity.state.as_ref().map(|(name, _)| name.as_str());
        let Some(desired) = entity.desired.as_ref().filter(|_| state != Some("Deleted")) else {
            continue;
        };
        let bytes = world
            .blobs
            .get(&desired.desired)
            .await
            .map_err(|e| e.to_string())?;
        let record: Value = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
        let templates = ["template", "previous", "proposed"].map(|one| &record[one]["contract"]);
        let contracts = templates.into_iter().chain([&record["contract"]]);
        named.extend(contracts.filter_map(Value::as_str).map(str::to_owned));
        let waves = record["waves"].as_array().into_iter().flatten();
        let items = waves.flat_map(|wave| wave["items"].as_array().into_iter().flatten());
        let of_items = items.map(|item| &item["template"]["contract"]);
        let outputs = record["found"].as_object().into_iter().flatten();
        let of_group = of_items.chain(outputs.map(|(_, output)| &output["secret"]));
        named.extend(of_group.filter_map(Value::as_str).map(str::to_owned));
        let retired = record["retired"].as_array().into_iter().flatten();
        maybe.extend(retired.filter_map(Value::as_str).map(str::to_owned));
    }
    let kept = world
        .secrets
        .ids()
        .await
        .map_err(|error| error.to_string())?;
    maybe.extend(named.iter().cloned());
    match kept.iter().find(|id| !maybe.contains(id.as_str())) {
        Some(_) => Err("a secret is kept that nobody uses any more".to_owned()),
        None if kept.len() < named.len() => Err("a secret that is in use was erased".to_owned()),
        None => Ok(()),
    }
}
