//! Checks what must hold at the end of a story, or just after a process died.

use std::collections::BTreeSet;

use serde_json::Value;
use vsiflow_engine::{audit::Audit, blob::Blobs as _, replay::replay, secret::Secrets as _};
use vsiflow_workflows::fleet::{Fleet, Verdict};

use super::{
    audit::AcknowledgedState,
    documents,
    gate::CrashGate,
    outcome,
    stories::ExpectedEnd,
    world::{CrashWorld, JOURNAL},
};

/// The journal has all acknowledged events and no others.
pub async fn acknowledged_is_there(world: &CrashWorld) -> Result<(), String> {
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

/// Checks everything that must hold at the end of a story.
pub async fn all(world: &CrashWorld, ends: &[ExpectedEnd]) -> Result<(), String> {
    world.audit.verdict()?;
    acknowledged_is_there(world).await?;
    chains(world).await?;
    let fleet = world
        .start(&CrashGate::safe())
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

/// Verifies both hash chains from the stored bytes.
async fn chains(world: &CrashWorld) -> Result<(), String> {
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

/// Replays the journal: it must give the states that the processes had, and every automatic decision of the
/// engine must be one that the pure core makes.
async fn replays(world: &CrashWorld) -> Result<(), String> {
    let records = world
        .journals
        .current()
        .read_all(0, usize::MAX)
        .await
        .map_err(|e| e.to_string())?;
    let again = AcknowledgedState::folded(&records);
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

/// Checks that the states in a process's memory equal those of the journal.
pub fn lives_by_the_journal(world: &CrashWorld, fleet: &Fleet) -> Result<(), String> {
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

/// Checks that each stored secret is named by a desired state of an entity that is not deleted.
async fn no_orphan_secret(world: &CrashWorld) -> Result<(), String> {
    // A crash after a new desired state is recorded and before the replaced secret is erased leaves that
    // secret. Its owner still names it, as retired.
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
