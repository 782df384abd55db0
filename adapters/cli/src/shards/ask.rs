//! Commands that are sent to the holder of a journal through the database, and their answers.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::time::{Instant, sleep};
use vsiflow_api::{CommandRequest, ForwardedRequest, SentDocuments, SentFile};
use vsiflow_engine::{model::Actor, secret::Secret};
use vsiflow_postgres::{
    Held,
    seal::Sealer,
    shards::{
        ShardError, ShardSet,
        requests::{Lane, NewRequest, Progress},
    },
};
use vsiflow_workflows::fleet::{
    ChosenHost, ConsoleNote, EndedGroup, GuestQuestions, JournalReport, MemberQuestions,
    NetworkQuestion, ReportQuestions,
};

use super::{
    decided::stored::DecidedResource,
    members::stored::StoredRequest,
    problem,
    remote_problem::{RemoteProblem, refused, unanswered, unfinished},
};
use crate::{
    actor,
    args::Cli,
    daemon,
    exit::{Exit, ExitProblem},
    output::{
        self,
        sink::{self, OutputSink},
    },
    work,
};

/// How often the database is polled for the answer.
const POLL: Duration = Duration::from_millis(150);
/// How long to wait for a holder. A holder that died is replaced sooner.
pub(super) const TIMEOUT: Duration = Duration::from_secs(60);
/// After this time the user is told what the command waits for.
const REPORT_AFTER: Duration = Duration::from_secs(3);
/// How often to check whether a process holds the journal.
const LEASE_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A command that is sent to the holder of a journal.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct ForwardedCommand {
    pub(super) request: CommandRequest,
    pub(super) actor: Actor,
    #[serde(default)]
    pub(super) part: CommandPart,
}

impl ForwardedCommand {
    /// A request that does not come from a command line.
    pub(super) fn of_engine(part: CommandPart) -> Self {
        Self {
            request: CommandRequest::default(),
            actor: Actor::Engine,
            part,
        }
    }
}

/// The part of a command that a journal is to do.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) enum CommandPart {
    /// All that concerns the journal's own objects.
    #[default]
    Own,
    /// Journal 0: decides about documents over all journals, then has each of them do its part.
    Decide(Box<ForwardedDocuments>),
    /// The journal's part of documents, with the hosts that journal 0 chose for some of their objects.
    HandedOver(Vec<ChosenHost>, ForwardedRequest),
    /// What concerns these of its own objects, out of all that the command names or selects.
    Named(Vec<String>),
    /// Reports on its hosts and objects, also on hosts that only these documents describe, and changes nothing.
    Report(Box<ReportQuestions>, Option<Box<SentDocuments>>),
    /// Reports its members of a pool, and changes nothing.
    ReportMembers(MemberQuestions),
    /// Journal 0: decides over all journals what a pool asks for, as it does for documents.
    DecideMembers(StoredRequest),
    /// The journal's part of what journal 0 decided for a pool.
    MembersHandedOver(StoredRequest),
    /// Journal 0: chooses a host and checks quotas for the custom resource with this UID, over all journals.
    DecideResource(uuid::Uuid, StoredRequest),
    /// Has the operator record that resource, on a host of this journal.
    ResourceDecided(DecidedResource),
    /// Asks guests of members, and records nothing.
    AskGuests(GuestQuestions),
    /// Reports the state of networks, after asking those to end that should.
    ReportNetworks(Vec<NetworkQuestion>),
    /// Ends the networks that only members of a group were on.
    EndNetworks(EndedGroup),
    /// Records that a console is opened or closed.
    NoteConsole(ConsoleNote),
    /// Answers a request to the API.
    Answer(ForwardedRequest),
}

impl CommandPart {
    fn lane(&self) -> Lane {
        match self {
            Self::Own
            | Self::Named(_)
            | Self::HandedOver(..)
            | Self::MembersHandedOver(_)
            | Self::ResourceDecided(_)
            | Self::NoteConsole(_)
            | Self::Answer(_) => Lane::Command,
            Self::Decide(_) | Self::DecideMembers(_) | Self::DecideResource(..) => Lane::Decision,
            Self::Report(..)
            | Self::ReportMembers(_)
            | Self::AskGuests(_)
            | Self::ReportNetworks(_)
            | Self::EndNetworks(_) => Lane::Report,
        }
    }
}

/// Documents that journal 0 decides about.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct ForwardedDocuments {
    pub(super) documents: SentDocuments,
    /// What each journal is to answer about its part.
    pub(super) request: ForwardedRequest,
    /// Why, if the decision is recorded.
    pub(super) reason: Option<String>,
}

/// A journal's answer to a report request.
#[derive(Serialize, Deserialize)]
pub(super) struct ReportAnswer {
    /// The report, or why there is none.
    #[serde(rename = "said")]
    pub(super) outcome: Result<JournalReport, RemoteProblem>,
    /// Whether the journal does not act on its hosts yet.
    pub(super) is_quiet: bool,
}

/// The result of a command.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CommandAnswer {
    pub(super) exit: u8,
    /// The printed pieces, in base64. `true` means standard error.
    output: Vec<(bool, String)>,
    /// The code of the first error among them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<String>,
}

impl CommandAnswer {
    /// The result of a command that printed into `sink`.
    pub(super) fn new(exit: Exit, sink: &OutputSink) -> Self {
        let encoded = |(to_err, bytes): (bool, Vec<u8>)| (to_err, BASE64_STANDARD.encode(bytes));
        Self {
            exit: exit as u8,
            output: sink.take().into_iter().map(encoded).collect(),
            code: sink.first_code(),
        }
    }

    pub(super) fn print(&self) -> Result<Exit, ExitProblem> {
        if let Some(code) = &self.code {
            sink::note_code(code);
        }
        for (to_err, piece) in &self.output {
            let bytes = BASE64_STANDARD.decode(piece).map_err(ExitProblem::defect)?;
            daemon::show(*to_err, &bytes).map_err(ExitProblem::defect)?;
        }
        Ok(Exit::of(self.exit))
    }
}

/// A command as it is sent to a journal.
pub(super) fn forwarded(cli: &Cli, files: Vec<SentFile>, part: CommandPart) -> ForwardedCommand {
    ForwardedCommand {
        request: CommandRequest {
            args: daemon::words(cli),
            files,
            ascii: output::symbols::is_ascii(),
        },
        actor: actor::by("").actor,
        part,
    }
}

/// Has the holder of a journal run a command, and prints its output.
pub(super) async fn ask(
    set: &ShardSet,
    sealer: &Sealer,
    journal: u16,
    command: &ForwardedCommand,
    repeatable: bool,
) -> Result<Exit, ExitProblem> {
    let outcome = answer_of(set, sealer, journal, command, repeatable).await?;
    outcome.map_or(Ok(Exit::Interrupted), |answer| answer.print())
}

/// Has the holders of all journals run a command, and prints their output. Equal answers are printed once.
pub(super) async fn ask_all(
    set: &ShardSet,
    sealer: &Sealer,
    command: &ForwardedCommand,
    repeatable: bool,
) -> Exit {
    let journals = 0..set.journals();
    let asking = journals.map(|journal| answer_of(set, sealer, journal, command, repeatable));
    let all = futures::future::join_all(asking).await;
    let mut printed: Vec<CommandAnswer> = Vec::new();
    output::worst(all.into_iter().map(|outcome| match outcome? {
        None => Ok(Exit::Interrupted),
        Some(answer) if printed.contains(&answer) => Ok(Exit::of(answer.exit)),
        Some(answer) => {
            let exit = answer.print();
            printed.push(answer);
            exit
        }
    }))
}

/// The answer of a journal's holder; `None` if the user interrupted the wait.
async fn answer_of(
    set: &ShardSet,
    sealer: &Sealer,
    journal: u16,
    command: &ForwardedCommand,
    repeatable: bool,
) -> Result<Option<CommandAnswer>, ExitProblem> {
    let id = id();
    let request = (id.as_str(), journal);
    send(set, sealer, request, command, repeatable, None).await?;
    tokio::select! {
        answered = answer::<CommandAnswer>(set, sealer, request, TIMEOUT) => {
            let answer = answered?;
            if set.withdraw(&id).await.is_err() {
                tracing::debug!("the answer is forgotten later");
            }
            Ok(Some(answer))
        }
        () = work::interrupted() => {
            let withdrawn = set.withdraw(&id).await.is_ok_and(|gone| gone);
            if !withdrawn {
                output::note(&format!("journal {journal} has begun what was asked, and continues"));
            }
            Ok(None)
        }
    }
}

/// Stores a request in the database for the holder of a journal.
pub(super) async fn send(
    set: &ShardSet,
    sealer: &Sealer,
    (id, journal): (&str, u16),
    command: &ForwardedCommand,
    repeatable: bool,
    by: Option<&Held>,
) -> Result<(), ExitProblem> {
    let text = serde_json::to_vec(command).map_err(ExitProblem::defect)?;
    let text = Secret::new(text);
    let request = NewRequest {
        id,
        journal,
        lane: command.part.lane(),
        text: &text,
        repeatable,
    };
    let sent = set.ask(sealer, request, by).await;
    sent.map_err(|error: ShardError| problem(&error))
}

/// A new unique request ID.
pub(super) fn id() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// Waits for an answer as long as a process holds the journal and has begun. Waits at most `patience` for a
/// holder to begin, or for a new holder.
pub(super) async fn answer<T: DeserializeOwned>(
    set: &ShardSet,
    sealer: &Sealer,
    request: (&str, u16),
    patience: Duration,
) -> Result<T, ExitProblem> {
    AwaitedAnswer::new(set, request, patience, true)
        .answer(sealer)
        .await
}

/// Waits as [`answer`] does, without reporting the wait to a user.
pub(super) async fn answer_quietly<T: DeserializeOwned>(
    set: &ShardSet,
    sealer: &Sealer,
    request: (&str, u16),
    patience: Duration,
) -> Result<T, ExitProblem> {
    AwaitedAnswer::new(set, request, patience, false)
        .answer(sealer)
        .await
}

/// A request whose answer is waited for.
struct AwaitedAnswer<'a> {
    set: &'a ShardSet,
    id: &'a str,
    journal: u16,
    patience: Duration,
    /// Whether the user has yet to be told what the command waits for.
    reports_wait: bool,
    since: Instant,
    /// When the journal's lease was last checked.
    checked: Instant,
    /// Since when no process holds the journal.
    unheld: Option<Instant>,
}

impl<'a> AwaitedAnswer<'a> {
    fn new(
        set: &'a ShardSet,
        (id, journal): (&'a str, u16),
        patience: Duration,
        reports_wait: bool,
    ) -> Self {
        let now = Instant::now();
        Self {
            set,
            id,
            journal,
            patience,
            reports_wait,
            since: now,
            checked: now,
            unheld: None,
        }
    }

    async fn answer<T: DeserializeOwned>(mut self, sealer: &Sealer) -> Result<T, ExitProblem> {
        loop {
            let progress = self.set.progress(sealer, self.id).await;
            match progress.map_err(|error| problem(&error))? {
                Progress::Answered(answer) => {
                    return serde_json::from_slice(answer.expose()).map_err(ExitProblem::defect);
                }
                Progress::Gone => return Err(unanswered(self.journal, "the request is gone")),
                Progress::Refused => return Err(refused(self.journal)),
                Progress::Waiting => self.waits().await?,
                Progress::Begun => self.was_begun().await?,
            }
            sleep(POLL).await;
        }
    }

    /// The request has not been begun: withdraws it after `patience`, and then nothing was done.
    async fn waits(&mut self) -> Result<(), ExitProblem> {
        self.check_holder().await?;
        self.report_waiting(self.since);
        if self.since.elapsed() <= self.patience {
            return Ok(());
        }
        let withdrawn = self.set.withdraw(self.id).await;
        if !withdrawn.map_err(|error| problem(&error.into()))? {
            return Ok(());
        }
        Err(match self.unheld {
            Some(_) => unanswered(self.journal, "no process holds that journal"),
            None => unanswered(
                self.journal,
                "the process that holds it has begun nothing new",
            ),
        })
    }

    /// The request was begun: the next holder finishes it, but there may never be one.
    async fn was_begun(&mut self) -> Result<(), ExitProblem> {
        self.check_holder().await?;
        let Some(since) = self.unheld else {
            return Ok(());
        };
        self.report_waiting(since);
        if since.elapsed() <= self.patience {
            Ok(())
        } else {
            Err(unfinished(self.journal))
        }
    }

    /// Checks from time to time whether a process holds the journal.
    async fn check_holder(&mut self) -> Result<(), ExitProblem> {
        if self.checked.elapsed() < LEASE_CHECK_INTERVAL {
            return Ok(());
        }
        self.checked = Instant::now();
        let free = self.set.free().await;
        let free = free.map_err(|error| problem(&error.into()))?;
        if !free.contains(&self.journal) {
            self.unheld = None;
        } else if self.unheld.is_none() {
            self.unheld = Some(self.checked);
        }
        Ok(())
    }

    fn report_waiting(&mut self, since: Instant) {
        if self.reports_wait && since.elapsed() > REPORT_AFTER {
            self.reports_wait = false;
            output::note(&format!(
                "waiting for a process that holds journal {}",
                self.journal
            ));
        }
    }
}
