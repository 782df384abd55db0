//! Requests to the API that the process holding the journal has to answer.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use vsiflow_api::{ForwardedAnswer, ForwardedRequest};
use vsiflow_postgres::{seal::Sealer, shards::ShardSet};
use vsiflow_workflows::fleet::ChosenHost;

use super::{
    ask::{self, CommandPart, ForwardedCommand},
    journal_holder::JournalHolder,
    remote_problem::{RemoteProblem, unknown},
};
use crate::{daemon, documents::JournalDocuments, exit::ExitProblem};

/// How long a holder may take to begin: the caller waits for an answer over HTTP.
const BEGIN: Duration = Duration::from_secs(20);

/// The answer to an API request, or why there is none.
#[derive(Serialize, Deserialize)]
pub(super) struct ApiAnswer {
    #[serde(rename = "said")]
    outcome: Result<ForwardedAnswer, RemoteProblem>,
}

impl ApiAnswer {
    pub(super) fn into_answer(self) -> Result<ForwardedAnswer, ExitProblem> {
        self.outcome.map_err(RemoteProblem::problem)
    }
}

/// Has the holder of a journal answer a request to the API. If a process died after beginning it, the next holder answers
/// it, or reports the outcome as unknown where it may not be repeated.
///
/// # Errors
/// VSI0766 and VSI0767.
pub(super) async fn ask(
    set: &ShardSet,
    sealer: &Sealer,
    journal: u16,
    request: ForwardedRequest,
) -> Result<ForwardedAnswer, ExitProblem> {
    let id = send(set, sealer, journal, request).await?;
    let answer: ApiAnswer = ask::answer_quietly(set, sealer, (&id, journal), BEGIN).await?;
    answer.into_answer()
}

/// The same for a command, which tells its user what it waits for.
///
/// # Errors
/// As [`ask()`].
pub(super) async fn ask_for_user(
    set: &ShardSet,
    sealer: &Sealer,
    journal: u16,
    request: ForwardedRequest,
) -> Result<ForwardedAnswer, ExitProblem> {
    let id = send(set, sealer, journal, request).await?;
    let answer: ApiAnswer = ask::answer(set, sealer, (&id, journal), ask::TIMEOUT).await?;
    answer.into_answer()
}

/// Sends the request, and returns its ID.
async fn send(
    set: &ShardSet,
    sealer: &Sealer,
    journal: u16,
    request: ForwardedRequest,
) -> Result<String, ExitProblem> {
    let is_repeatable = request.is_repeatable;
    let command = ForwardedCommand {
        actor: request.actor.clone(),
        ..ForwardedCommand::of_engine(CommandPart::Answer(request))
    };
    let id = ask::id();
    ask::send(set, sealer, (&id, journal), &command, is_repeatable, None).await?;
    Ok(id)
}

/// What a holder that died had done with a request.
pub(super) struct BegunBefore {
    /// It had begun to carry it out.
    pub(super) again: bool,
    /// The same, and the request is not repeatable.
    pub(super) is_lost: bool,
}

/// Answers a request to the API that concerns this journal. With the hosts that journal 0 chose, if it decided.
pub(super) async fn answer(
    holder: &JournalHolder,
    mut request: ForwardedRequest,
    begun: BegunBefore,
    chosen: Option<Vec<ChosenHost>>,
) -> ApiAnswer {
    let BegunBefore { again, is_lost } = begun;
    if is_lost && !request.is_repeatable {
        let outcome = Err(RemoteProblem::of(&unknown()));
        return ApiAnswer { outcome };
    }
    request.is_repeated = again;
    let app = holder.app.for_others();
    let documents = JournalDocuments::of_member(app, &holder.common, chosen);
    let answer = daemon::api_with(&holder.app, documents)
        .answer(request)
        .await;
    ApiAnswer {
        outcome: Ok(answer),
    }
}
