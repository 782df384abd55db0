//! Carries out the requests that commands and other journals send to a journal of a set.
//!
//! A request that was begun but not answered when its process ended is begun again by the next holder if it
//! is repeatable. Otherwise the next holder answers that the outcome is unknown.

use std::{sync::Arc, time::Duration};

use serde::Serialize;
use tokio::time::sleep;
use vsiflow_api::{Caller, Rights};
use vsiflow_engine::secret::Secret;
use vsiflow_postgres::shards::requests::{JournalRequest, Lane};

use super::{
    api,
    ask::{CommandAnswer, CommandPart, ForwardedCommand},
    choose, consoles, decided,
    front::{objects::leave, routing::is_asked},
    journal_holder::JournalHolder,
    members, networks,
    remote_problem::{unknown, unreadable},
    report,
    under_way::{PanickedRequest, RequestsUnderWay},
};
use crate::{
    actor, daemon,
    ending::defect,
    exit::{CommandOutcome, ExitProblem},
    output::{self, sink},
    runner, work,
};

/// How often the database is polled for requests.
const POLL: Duration = Duration::from_millis(200);

/// Carries out the requests to this journal, several of each lane at the same time. The next holder begins
/// the unfinished ones again, or answers that their outcome is unknown.
pub(super) async fn answer(holder: Arc<JournalHolder>) -> CommandOutcome {
    let mut under_way = RequestsUnderWay::default();
    loop {
        let open = match under_way.open_lanes().await {
            Ok(open) => open,
            Err(panicked) => return Err(end_with(&holder, &panicked).await),
        };
        let JournalHolder {
            sealer,
            shard,
            held,
            ..
        } = &*holder;
        let begun = shard.set();
        let begun = begun.begin(sealer, held, shard.number, &open).await;
        match begun {
            Ok(Some(incoming)) => {
                let (id, lane) = (incoming.id.clone(), incoming.lane);
                under_way.begin(id, lane, Box::pin(carry_out(holder.clone(), incoming)));
            }
            Ok(None) => sleep(POLL).await,
            Err(error) => {
                tracing::warn!(%error, journal = shard.number, "requests are not read");
                sleep(POLL).await;
            }
        }
    }
}

/// Ends this process with a request that panicked. It is refused, because the next holder would panic, too.
async fn end_with(holder: &JournalHolder, panicked: &PanickedRequest) -> ExitProblem {
    let refused = holder.shard.set().refuse(&holder.held, &panicked.id).await;
    if let Err(error) = refused {
        tracing::warn!(%error, "a request that panicked is not refused");
    }
    defect(&panicked.to_string())
}

/// Carries out one request and stores its answer.
async fn carry_out(holder: Arc<JournalHolder>, incoming: JournalRequest) {
    let (id, lane) = (incoming.id.clone(), incoming.lane);
    let text = Box::pin(answer_to(&holder, incoming)).await;
    let (set, sealer) = (holder.shard.set(), &holder.sealer);
    // Retries until the answer is stored: the caller waits for it, and the lease bounds the loop.
    while let Err(error) = set.answer(sealer, &holder.held, &id, &text).await {
        tracing::warn!(%error, "an answer is not stored yet");
        sleep(POLL).await;
    }
    if lane == Lane::Decision {
        choose::forget(&holder, &id).await;
    }
}

/// Carries out one request and returns its answer, encoded as its caller expects.
async fn answer_to(holder: &Arc<JournalHolder>, incoming: JournalRequest) -> Secret {
    let read = serde_json::from_slice::<ForwardedCommand>(incoming.request.expose());
    let Ok(read) = read.inspect_err(|error| tracing::warn!(%error, "a request cannot be read"))
    else {
        return text(&Box::pin(command(holder, incoming)).await);
    };
    let begun = api::BegunBefore {
        again: incoming.again,
        is_lost: incoming.begun,
    };
    match &read.part {
        CommandPart::Report(questions, documents) => {
            let (questions, documents) = ((**questions).clone(), documents.as_deref());
            text(&Box::pin(report::report(holder, questions, documents)).await)
        }
        CommandPart::ReportMembers(_) => text(&members::carry_out::report(holder, read).await),
        CommandPart::AskGuests(_) => {
            text(&Box::pin(members::carry_out::ask_guests(holder, read)).await)
        }
        CommandPart::DecideMembers(ask) => {
            text(&Box::pin(members::carry_out::decide(holder, &incoming.id, ask)).await)
        }
        CommandPart::MembersHandedOver(ask) => {
            text(&Box::pin(members::carry_out::take_over(holder, ask)).await)
        }
        CommandPart::DecideResource(uid, ask) => {
            text(&Box::pin(decided::decide(holder, &incoming.id, (*uid, ask))).await)
        }
        CommandPart::ResourceDecided(resource) => text(&decided::take_over(holder, resource).await),
        CommandPart::ReportNetworks(questions) => text(&networks::report(holder, questions).await),
        CommandPart::EndNetworks(group) => text(&networks::end_of_group(holder, group).await),
        CommandPart::Decide(_) if incoming.begun => text(&choose::DecidedAnswer::lost()),
        CommandPart::Decide(work) => {
            text(&Box::pin(choose::decide(holder, &incoming.id, work)).await)
        }
        CommandPart::HandedOver(chosen, request) => {
            let (request, chosen) = (request.clone(), Some(chosen.clone()));
            text(&Box::pin(api::answer(holder, request, begun, chosen)).await)
        }
        CommandPart::Answer(request) => {
            text(&Box::pin(api::answer(holder, request.clone(), begun, None)).await)
        }
        CommandPart::NoteConsole(note) => {
            text(&consoles::record(holder, note, read.actor.clone(), incoming.begun).await)
        }
        CommandPart::Own | CommandPart::Named(_) => {
            text(&Box::pin(command(holder, incoming)).await)
        }
    }
}

fn text(answer: &impl Serialize) -> Secret {
    Secret::new(serde_json::to_vec(answer).unwrap_or_default())
}

/// Runs a command with the journal that this process has open, as the daemon does for callers of
/// its socket.
async fn command(holder: &Arc<JournalHolder>, incoming: JournalRequest) -> CommandAnswer {
    let JournalRequest { request, begun, .. } = incoming;
    let sink = Arc::new(sink::OutputSink::default());
    let work = async {
        let refused = |problem: ExitProblem| {
            output::problem(&problem);
            problem.exit
        };
        if begun {
            return refused(unknown());
        }
        let read = serde_json::from_slice::<ForwardedCommand>(request.expose());
        let Ok(command) = read else {
            return refused(unreadable());
        };
        let cli = daemon::command_line(&command.request.args);
        let Some(mut cli) = cli.filter(|cli| is_asked(&cli.command)) else {
            return refused(unreadable());
        };
        let (actor, documents) = (
            command.actor.clone(),
            daemon::documents_of(command.request.clone()),
        );
        let work = async {
            match command.part.clone() {
                CommandPart::Own => Box::pin(runner::run_to_end(cli)).await,
                CommandPart::Named(names) => {
                    leave(&mut cli.command, names);
                    Box::pin(runner::run_to_end(cli)).await
                }
                CommandPart::Decide(_)
                | CommandPart::HandedOver(..)
                | CommandPart::Report(..)
                | CommandPart::ReportMembers(_)
                | CommandPart::AskGuests(_)
                | CommandPart::DecideMembers(_)
                | CommandPart::MembersHandedOver(_)
                | CommandPart::DecideResource(..)
                | CommandPart::ResourceDecided(_)
                | CommandPart::ReportNetworks(_)
                | CommandPart::EndNetworks(_)
                | CommandPart::NoteConsole(_)
                | CommandPart::Answer(_) => Ok(refused(unreadable())),
            }
        };
        let work = work::with_files(documents, Box::pin(work));
        let caller = Caller {
            actor,
            // Those who only look ask for no work of other journals.
            rights: Rights::Operate,
        };
        let work = actor::for_caller(caller, work);
        let done = Box::pin(holder.app.for_others().lend(work)).await;
        done.unwrap_or_else(|problem| problem.exit)
    };
    let exit = Box::pin(sink::with(sink.clone(), work)).await;
    CommandAnswer::new(exit, &sink)
}
