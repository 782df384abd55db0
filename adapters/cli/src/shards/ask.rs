//! A command for the holder of a journal, and its answer, as they go through the database.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::time::{Instant, sleep};
use vsiflow_api::{CommandRequest, ForwardedRequest};
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

use super::{decided::stored::DecidedResource, members::stored::StoredRequest, problem};
use crate::{
    daemon,
    exit::{Exit, ExitProblem},
    output, work,
};

/// How often it is looked for the answer.
const POLL: Duration = Duration::from_millis(150);
/// A holder that died is succeeded sooner.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// From then on the user is told what is waited for.
const SAID: Duration = Duration::from_secs(3);
/// How often it is looked whether somebody holds the journal that is asked.
const LOOK: Duration = Duration::from_secs(1);

/// What is asked.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct ForwardedCommand {
    pub(super) request: CommandRequest,
    pub(super) actor: Actor,
    #[serde(default)]
    pub(super) part: CommandPart,
}

impl ForwardedCommand {
    /// What no command line says.
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
    /// What concerns its own objects.
    #[default]
    Own,
    /// Journal 0: what has to be decided over all journals, and then to have each of them do its part.
    Decide,
    /// What concerns its own objects, of which journal 0 chose some hosts.
    HandedOver(Vec<ChosenHost>),
    /// What concerns these of its own objects, of all that is named or selected.
    Named(Vec<String>),
    /// To say what has to be known of its hosts and objects, and to do nothing.
    Report(ReportQuestions),
    /// To say what it has of a pool, and to do nothing.
    ReportMembers(MemberQuestions),
    /// Journal 0: what a pool asks for, decided over all journals as documents are.
    DecideMembers(StoredRequest),
    /// What of that concerns its own objects.
    MembersHandedOver(StoredRequest),
    /// Journal 0: a host, and the quotas' permission, for the custom resource with that UID, decided over all journals.
    DecideResource(uuid::Uuid, StoredRequest),
    /// To have the operator record that resource, on a host of its own.
    ResourceDecided(DecidedResource),
    /// To ask guests of members, and to record nothing.
    AskGuests(GuestQuestions),
    /// To say how networks are, once those of them that are to end were asked to.
    ReportNetworks(Vec<NetworkQuestion>),
    /// To end what only members of a group were on.
    EndNetworks(EndedGroup),
    /// To record that a console is opened or closed.
    NoteConsole(ConsoleNote),
    /// To answer a request to the API.
    Answer(ForwardedRequest),
}

impl CommandPart {
    fn lane(&self) -> Lane {
        match self {
            Self::Own
            | Self::Named(_)
            | Self::HandedOver(_)
            | Self::MembersHandedOver(_)
            | Self::ResourceDecided(_)
            | Self::NoteConsole(_)
            | Self::Answer(_) => Lane::Command,
            Self::Decide | Self::DecideMembers(_) | Self::DecideResource(..) => Lane::Decision,
            Self::Report(_)
            | Self::ReportMembers(_)
            | Self::AskGuests(_)
            | Self::ReportNetworks(_)
            | Self::EndNetworks(_) => Lane::Report,
        }
    }
}

/// What a journal says of itself.
#[derive(Serialize, Deserialize)]
pub(super) struct ReportAnswer {
    /// What it says, or why it does not.
    #[serde(rename = "said")]
    pub(super) outcome: Result<JournalReport, RemoteProblem>,
    /// Whether it leaves its hosts alone for now.
    pub(super) is_quiet: bool,
}

/// A problem as it goes from one process to another.
#[derive(Serialize, Deserialize)]
pub(super) struct RemoteProblem {
    exit: u8,
    code: String,
    message: String,
    remedy: String,
}

impl RemoteProblem {
    pub(super) fn of(problem: &ExitProblem) -> Self {
        Self {
            exit: problem.exit as u8,
            code: problem.code.to_string(),
            message: problem.message.clone(),
            remedy: problem.remedy.clone(),
        }
    }

    pub(super) fn problem(self) -> ExitProblem {
        ExitProblem::new(Exit::of(self.exit), &self.code, self.message, &self.remedy)
    }
}

/// What it came to.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CommandAnswer {
    pub(super) exit: u8,
    /// What was printed, in base64: for standard error, where that is true.
    output: Vec<(bool, String)>,
}

impl CommandAnswer {
    pub(super) fn new(exit: Exit, pieces: Vec<(bool, Vec<u8>)>) -> Self {
        let encoded = |(to_err, bytes): (bool, Vec<u8>)| (to_err, BASE64_STANDARD.encode(bytes));
        Self {
            exit: exit as u8,
            output: pieces.into_iter().map(encoded).collect(),
        }
    }

    pub(super) fn print(&self) -> Result<Exit, ExitProblem> {
        for (to_err, piece) in &self.output {
            let bytes = BASE64_STANDARD.decode(piece).map_err(ExitProblem::defect)?;
            daemon::show(*to_err, &bytes).map_err(ExitProblem::defect)?;
        }
        Ok(Exit::of(self.exit))
    }
}

/// Has the holder of a journal do a command, and prints what it says.
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

/// Has the holders of all journals do a command, and prints what they say: what several say alike, once.
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

/// What the holder of a journal says; nothing where the user waits no longer.
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
        answered = answer::<CommandAnswer>(set, sealer, request, PATIENCE) => {
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

/// Puts a request where the holder of a journal finds it.
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

/// Unlike any other.
pub(super) fn id() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// Waits for an answer: as long as a holder of the journal is there that has begun, and `patience` for one to begin,
/// or to be there again.
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

/// The same, where nobody looks.
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
    /// Whether somebody is still to be told what is waited for.
    tells: bool,
    since: Instant,
    /// When it was looked last whether somebody holds the journal.
    checked: Instant,
    /// Since when nobody does.
    unheld: Option<Instant>,
}

impl<'a> AwaitedAnswer<'a> {
    fn new(
        set: &'a ShardSet,
        (id, journal): (&'a str, u16),
        patience: Duration,
        tells: bool,
    ) -> Self {
        let now = Instant::now();
        Self {
            set,
            id,
            journal,
            patience,
            tells,
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
                Progress::Waiting => self.waits().await?,
                Progress::Begun => self.was_begun().await?,
            }
            sleep(POLL).await;
        }
    }

    /// Nobody has begun: it is taken back in time, and then nothing was done.
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

    /// Somebody has begun: it is finished by whoever has the journal next, but that may never come.
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

    /// Looks now and then whether somebody holds the journal.
    async fn check_holder(&mut self) -> Result<(), ExitProblem> {
        if self.checked.elapsed() < LOOK {
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
        if self.tells && since.elapsed() > SAID {
            self.tells = false;
            output::note(&format!(
                "waiting for a process that holds journal {}",
                self.journal
            ));
        }
    }
}

fn unanswered(journal: u16, why: &str) -> ExitProblem {
    let message =
        format!("journal {journal} of the set does not answer: {why}; nothing was done there");
    let remedy = "see that `vsiflow serve --shards auto` runs, then ask again";
    ExitProblem::new(Exit::Failed, "VSI0766", message, remedy)
}

/// It was begun, and whoever comes next carries it out, or says that it is not known whether it was done.
fn unfinished(journal: u16) -> ExitProblem {
    let message = format!(
        "journal {journal} of the set does not answer: the process that had begun what was asked is gone, and no other one \
         holds that journal; the next one does what may be done again, so it is not known what was done there"
    );
    let remedy =
        "see that `vsiflow serve --shards auto` runs, then look what is there before asking again";
    ExitProblem::new(Exit::Failed, "VSI0766", message, remedy)
}

/// It was asked, and did not say anything in time.
pub(super) fn silent(journal: u16, after: Duration) -> ExitProblem {
    let message = format!(
        "journal {journal} did not answer within {} s",
        after.as_secs()
    );
    let remedy = "see that `vsiflow serve --shards auto` runs, then ask again";
    ExitProblem::new(Exit::Failed, "VSI0766", message, remedy)
}

/// What was asked comes from another release.
pub(super) fn unreadable() -> ExitProblem {
    let message = "what was asked cannot be read by the process that holds the journal";
    let remedy = "use one release of vsiflow everywhere";
    ExitProblem::new(Exit::Failed, "VSI0766", message, remedy)
}
