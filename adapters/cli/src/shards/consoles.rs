//! Consoles and screens in a set: the process that opens one asks the host, and the journal of the VSI
//! records it.
//!
//! This module opens no console itself.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    executor::By,
    model::{Actor, Text},
};
use vsiflow_postgres::{seal::Sealer, shards::ShardSet};
use vsiflow_workflows::fleet::ConsoleNote;

use super::{
    SetPlace,
    ask::{self, CommandPart, ForwardedCommand},
    claims::unknown,
    front::objects::{ObjectCounts, by_journal},
    journal_holder::JournalHolder,
    remote_problem::{RemoteProblem, unknown as outcome_unknown},
};
use crate::{args::Common, compose::journal_key, exit::ExitProblem};

/// How long a holder may take to begin. A process that ends waits no longer than this.
const BEGIN: Duration = Duration::from_secs(10);

/// The result of recording that a console was opened or closed.
#[derive(Serialize, Deserialize)]
pub(super) struct NotedAnswer {
    #[serde(rename = "said")]
    outcome: Result<(), RemoteProblem>,
}

/// The journal of a VSI.
///
/// # Errors
/// VSI0703.
pub(crate) async fn journal(
    place: &SetPlace,
    common: &Common,
    (namespace, name): (&str, &str),
) -> Result<u16, ExitProblem> {
    let name = name.to_owned();
    let named = by_journal(place, common, (namespace, [&name]), ObjectCounts::There);
    let found = named.await?.into_keys().next();
    found.ok_or_else(|| unknown(&name))
}

/// Has the holder of a journal record that a console is opened or closed.
///
/// # Errors
/// When it is not recorded; the console must not be opened then.
pub(crate) async fn note(
    set: &ShardSet,
    journal: u16,
    note: ConsoleNote,
    by: By,
) -> Result<(), ExitProblem> {
    let sealer = journal_key::needed().await?;
    note_by(set, &sealer, journal, note, by).await
}

/// As [`note`], with a key that the caller has.
pub(super) async fn note_by(
    set: &ShardSet,
    sealer: &Sealer,
    journal: u16,
    note: ConsoleNote,
    by: By,
) -> Result<(), ExitProblem> {
    let command = ForwardedCommand {
        actor: by.actor,
        ..ForwardedCommand::of_engine(CommandPart::NoteConsole(note))
    };
    let id = ask::id();
    let request = (id.as_str(), journal);
    // Not repeatable: noted twice, the console would count as open twice.
    ask::send(set, sealer, request, &command, false, None).await?;
    let answer: NotedAnswer = ask::answer(set, sealer, request, BEGIN).await?;
    answer.outcome.map_err(RemoteProblem::problem)
}

/// Records that a console is opened or closed.
pub(super) async fn record(
    holder: &JournalHolder,
    note: &ConsoleNote,
    actor: Actor,
    begun: bool,
) -> NotedAnswer {
    if begun {
        let outcome = Err(RemoteProblem::of(&outcome_unknown()));
        return NotedAnswer { outcome };
    }
    let by = By {
        actor,
        reason: Text::default(),
    };
    let noted = holder.app.fleet.vsis().note_console(note, by).await;
    NotedAnswer {
        outcome: noted.map_err(|error| RemoteProblem::of(&error.into())),
    }
}
