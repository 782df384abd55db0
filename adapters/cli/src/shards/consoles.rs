//! Consoles and screens in a set: who opens one asks the host, and the journal of the VSI records it.
//!
//! What this room never does: it opens nothing.

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
    ask::{self, CommandPart, ForwardedCommand, RemoteProblem},
    front::{self, ObjectCounts},
    journal_holder::JournalHolder,
};
use crate::{args::Common, exit::ExitProblem};

/// How long a holder may take to begin with it: a process that ends waits for no longer than that.
const BEGIN: Duration = Duration::from_secs(10);

/// What came of recording something of a console.
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
    let named = front::by_journal(place, common, (namespace, [&name]), ObjectCounts::There);
    let found = named.await?.into_keys().next();
    found.ok_or_else(|| front::unknown(&name))
}

/// Has the holder of a journal record something of a console.
///
/// # Errors
/// When it does not; the console is not to be opened then.
pub(crate) async fn note(
    set: &ShardSet,
    journal: u16,
    note: ConsoleNote,
    by: By,
) -> Result<(), ExitProblem> {
    let sealer = front::needed_key().await?;
    note_by(set, &sealer, journal, note, by).await
}

/// The same with a key that is known.
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
    // Noted twice, it would be open twice.
    ask::send(set, sealer, request, &command, false, None).await?;
    let answer: NotedAnswer = ask::answer(set, sealer, request, BEGIN).await?;
    answer.outcome.map_err(RemoteProblem::problem)
}

/// Records it.
pub(super) async fn record(
    holder: &JournalHolder,
    note: &ConsoleNote,
    actor: Actor,
    begun: bool,
) -> NotedAnswer {
    if begun {
        let outcome = Err(RemoteProblem::of(&super::answering::unknown()));
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
