//! Where a command's requests are answered: here, on the journal that it opens, or by the daemon that has the journal or
//! that the user named.
//!
//! A command sends typed requests and prints their answers. It does not know who answers: `--server` and `--read-only`
//! name a daemon; otherwise this process opens the journal for the time of its requests, and asks the process that has
//! it in use. Between two requests other processes may have it.

use std::{io, sync::Arc};

use serde_json::Value;
use tokio::time::{Instant, sleep};
use vsiflow_api::{
    Api, ApiPorts, Caller, ConsoleLogRequest, DaemonAddress, DaemonError, DocumentWork, JournalUse,
    NoDocuments, Problem, Rights, ServiceRequest, TableRequest, call_daemon,
};
use vsiflow_steps::ports::ConsolePosition;
use vsiflow_workflows::{
    fleet::{ConsoleLog, Fleets, LogChunk},
    kinds::{ObjectKind, ObjectRow, TableQuery},
    spec::Resolved,
};

use crate::{
    actor,
    args::Common,
    compose::{self, App},
    daemon::{
        self, RETRY_DELAY, SILENT, Silence, TIMEOUT, VIEW_SILENT, silent, unanswered_view_socket,
    },
    documents::JournalDocuments,
    exit::{Exit, ExitProblem, IN_USE},
    inspection::Inspection,
    shards::CommandSet,
};

/// Has a request answered. Cancel safe.
///
/// # Errors
/// As the request says. If nothing answers, [`is_silence`] is true of the problem.
pub(crate) async fn call<R: ServiceRequest + Clone>(
    common: &Common,
    request: R,
) -> Result<R::Answer, ExitProblem> {
    let answers = call_all(common, &[request]).await?.pop();
    answers.ok_or_else(|| ExitProblem::defect("a request without its answer"))
}

/// Has requests answered, one after the other, and all of them before this returns. Cancel safe.
///
/// # Errors
/// As for [`call`]; the first problem ends it.
pub(crate) async fn call_all<R: ServiceRequest + Clone>(
    common: &Common,
    requests: &[R],
) -> Result<Vec<R::Answer>, ExitProblem> {
    in_session(common, R::USE, |session| {
        let requests = requests.to_vec();
        async move { session.call_all(requests).await }
    })
    .await
}

/// Has a request answered from the journal that this process has open and works on.
///
/// # Errors
/// As the request says.
pub(crate) async fn call_on<R: ServiceRequest>(
    app: &App,
    common: &Common,
    request: R,
) -> Result<R::Answer, ExitProblem> {
    let fleets = Arc::new(Fleets::from(app.fleet.clone()));
    let api = Api::of_fleets(fleets, None, documents_of(app, common));
    Ok(Box::pin(api.call(&owner(), request)).await?)
}

fn documents_of(app: &App, common: &Common) -> Arc<dyn DocumentWork> {
    Arc::new(JournalDocuments::of_member(app.clone(), common, None))
}

/// The objects of a kind that a query asks for, as rows.
///
/// # Errors
/// As for [`call`].
pub(crate) async fn rows(
    common: &Common,
    kind: ObjectKind,
    query: TableQuery,
) -> Result<Vec<ObjectRow>, ExitProblem> {
    Ok(call(common, TableRequest::now(kind, query))
        .await?
        .table
        .rows)
}

/// The objects of a kind that a query asks for, whole.
///
/// # Errors
/// As for [`call`].
pub(crate) async fn objects(
    common: &Common,
    kind: ObjectKind,
    query: TableQuery,
) -> Result<Vec<Value>, ExitProblem> {
    let query = TableQuery {
        objects: true,
        ..query
    };
    let listed = call(common, TableRequest::now(kind, query)).await?;
    Ok(listed.table.into_objects())
}

/// Whether a problem says that no process answered, or that it has too much to do: both may be temporary.
pub(crate) fn is_silence(problem: &ExitProblem) -> bool {
    [IN_USE, SILENT, VIEW_SILENT, Problem::BUSY].contains(&problem.code.as_str())
}

/// Does work that sends requests, in a session that all of them share. If the process that has the journal does not
/// answer or has just ended, all of it is done again, for a few seconds.
pub(crate) async fn in_session<T, Work>(
    common: &Common,
    usage: JournalUse,
    work: impl Fn(Arc<ServiceSession>) -> Work,
) -> Result<T, ExitProblem>
where
    Work: Future<Output = Result<T, ExitProblem>> + Send,
{
    let until = Instant::now() + TIMEOUT;
    let is_named = daemon::place(common)?.is_some();
    loop {
        let session = Arc::new(Box::pin(ServiceSession::open(common, usage)).await?);
        let done = work(session.clone()).await;
        if let Some(session) = Arc::into_inner(session) {
            session.close().await;
        }
        match done {
            // The holder of the journal may have ended: then this process can have it.
            Err(problem) if is_silence(&problem) && !is_named && Instant::now() < until => {
                sleep(RETRY_DELAY).await;
            }
            done => return done,
        }
    }
}

/// Answers the requests of a command.
pub(crate) enum ServiceSession {
    /// This process, with the journals that it has opened.
    Here {
        apps: Vec<App>,
        fleets: Arc<Fleets>,
        api: Api,
        caller: Caller,
        /// Whether it works on the journal itself.
        works: bool,
    },
    /// This process, with the journal as it is stored.
    Stored {
        inspection: Arc<Inspection>,
        api: Api,
        caller: Caller,
    },
    /// A daemon.
    There {
        place: DaemonAddress,
        /// The problem if it does not answer, without the reason.
        silent: ExitProblem,
    },
}

impl ServiceSession {
    /// Finds out who answers, and opens the journals if it is this process.
    pub(crate) async fn open(common: &Common, usage: JournalUse) -> Result<Self, ExitProblem> {
        if let Some(place) = daemon::place(common)? {
            let silent = match &common.read_only {
                Some(socket) => unanswered_view_socket(socket),
                None => silent(&place),
            };
            return Ok(Self::There { place, silent });
        }
        let session = match usage {
            JournalUse::Inspect => Self::inspecting(common).await,
            _ => Self::with_journals(common, usage).await,
        };
        match session {
            Err(silent) if silent.code == IN_USE => {
                let place = DaemonAddress::Socket(daemon::socket(&compose::state_path(common)?));
                Ok(Self::There { place, silent })
            }
            opened => opened,
        }
    }

    /// The journal that a command has opened, with a desired state that requests with documents mean.
    pub(crate) fn with_state(app: App, common: &Common, resolved: Resolved) -> Self {
        let fleets = Arc::new(Fleets::from(app.fleet.clone()));
        let documents = JournalDocuments::worked_out(app.clone(), common, resolved);
        Self::Here {
            api: Api::of_fleets(fleets.clone(), None, Arc::new(documents)),
            apps: vec![app],
            fleets,
            caller: owner(),
            works: true,
        }
    }

    /// Reads the journal as it is stored.
    async fn inspecting(common: &Common) -> Result<Self, ExitProblem> {
        let inspection = Arc::new(Inspection::at(common).await?);
        Ok(Self::Stored {
            api: Api::of_stored(inspection.clone()),
            inspection,
            caller: owner(),
        })
    }

    /// Opens the journals.
    async fn with_journals(common: &Common, usage: JournalUse) -> Result<Self, ExitProblem> {
        let apps = opened(common, usage).await?;
        let fleets = App::all_fleets(&apps)?.with_unheld(unheld(common).await?);
        let fleets = Arc::new(fleets);
        let number = common.shard.as_ref().map(|shard| shard.number);
        let documents = match apps.first() {
            Some(app) => documents_of(app, common),
            None => Arc::new(NoDocuments),
        };
        let api = match &common.set {
            Some(place) if usage != JournalUse::Read => {
                let set = CommandSet::new(place.clone(), common, fleets.clone()).await?;
                Api::of_set(Arc::new(set), ApiPorts::default())
            }
            _ => Api::of_fleets(fleets.clone(), number, documents),
        };
        Ok(Self::Here {
            apps,
            fleets,
            api,
            caller: owner(),
            works: usage == JournalUse::Work && common.set.is_none(),
        })
    }

    /// The journal that this process works on; `None` if another one does the work.
    pub(crate) fn worked_on(&self) -> Option<&App> {
        match self {
            Self::Here {
                apps, works: true, ..
            } => apps.first(),
            _ => None,
        }
    }

    /// Whether it shows journals as they were when it began, because other processes change them.
    pub(crate) fn is_outdated(&self) -> bool {
        matches!(self, Self::Here { works: false, .. })
    }

    /// Has a request answered.
    ///
    /// # Errors
    /// As for [`call`].
    pub(crate) async fn call<R: ServiceRequest>(
        &self,
        request: R,
    ) -> Result<R::Answer, ExitProblem> {
        match self {
            Self::Here { api, caller, .. } | Self::Stored { api, caller, .. } => {
                Ok(api.call(caller, request).await?)
            }
            Self::There { place, silent } => {
                let answer = call_daemon(place, &request).await;
                answer.map_err(|error| match error {
                    DaemonError::Problem(problem) => (*problem).into(),
                    DaemonError::NoAnswer(why) if was_sent(&why) && !request.is_repeatable() => {
                        unknown(&why)
                    }
                    DaemonError::NoAnswer(why) => {
                        Silence::Broken(why.to_string()).explain(silent.clone(), place)
                    }
                })
            }
        }
    }

    /// Has requests answered, one after the other; the first problem ends it.
    ///
    /// # Errors
    /// As for [`call`].
    pub(crate) async fn call_all<R: ServiceRequest>(
        &self,
        requests: Vec<R>,
    ) -> Result<Vec<R::Answer>, ExitProblem> {
        let mut answers = Vec::new();
        for request in requests {
            answers.push(self.call(request).await?);
        }
        Ok(answers)
    }

    async fn uid_of_vsi(&self, namespace: &str, name: &str) -> Result<Option<String>, ExitProblem> {
        let query = TableQuery {
            namespace: Some(namespace.to_owned()),
            names: vec![name.to_owned()],
            ..TableQuery::default()
        };
        let request = TableRequest::now(ObjectKind::Vsi, query);
        let listed = self.call(request).await?.table;
        Ok(listed.rows.into_iter().find_map(|row| row.uid))
    }

    async fn console_source(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<ConsoleSource, ExitProblem> {
        match self {
            Self::Here { fleets, .. } => {
                let history = fleets.that_has(namespace, name).await?.history();
                let log = history.console_log(namespace, name).await?;
                Ok(ConsoleSource::Host(log))
            }
            Self::Stored { .. } => Err(ExitProblem::defect("a stored journal has no console")),
            Self::There { place, silent } => Ok(ConsoleSource::Daemon(Self::There {
                place: place.clone(),
                silent: silent.clone(),
            })),
        }
    }

    /// Closes what it has open.
    pub(crate) async fn close(self) {
        match self {
            Self::Here {
                apps, fleets, api, ..
            } => App::end(apps, (fleets, api)).await,
            Self::Stored { inspection, .. } => inspection.close().await,
            Self::There { .. } => {}
        }
    }
}

/// Reads a VSI's console log, through this process or a daemon.
pub(crate) struct ConsoleReader {
    common: Common,
    namespace: String,
    name: String,
    /// The VSI's UID, if a daemon reads: another VSI may get its name.
    uid: Option<String>,
    source: ConsoleSource,
}

enum ConsoleSource {
    /// Its host.
    Host(ConsoleLog),
    /// A daemon.
    Daemon(ServiceSession),
}

impl ConsoleReader {
    /// Finds a VSI, and who reads its console. Its host is not asked yet. The journal is not held, so that
    /// other processes may have it meanwhile.
    ///
    /// # Errors
    /// When there is no such VSI.
    pub(crate) async fn open(
        common: &Common,
        namespace: &str,
        name: &str,
    ) -> Result<Self, ExitProblem> {
        let source = Self::source(common, namespace, name).await?;
        let uid = match &source {
            ConsoleSource::Host(_) => None,
            ConsoleSource::Daemon(daemon) => daemon.uid_of_vsi(namespace, name).await?,
        };
        Ok(Self {
            common: common.clone(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid,
            source,
        })
    }

    async fn source(
        common: &Common,
        namespace: &str,
        name: &str,
    ) -> Result<ConsoleSource, ExitProblem> {
        let opened = in_session(common, JournalUse::Read, |session| async move {
            session.console_source(namespace, name).await
        });
        opened.await
    }

    /// Reads from a position on; no bytes if there are none yet. Who reads is found again once if nothing answers:
    /// a daemon may have ended, or another begun. Cancel safe.
    ///
    /// # Errors
    /// When the host or the daemon does not answer, or there is no such VSI.
    pub(crate) async fn read(&mut self, from: ConsolePosition) -> Result<LogChunk, ExitProblem> {
        match self.read_source(from).await {
            Err(problem) if is_silence(&problem) => {
                self.source = Self::source(&self.common, &self.namespace, &self.name).await?;
                self.read_source(from).await
            }
            read => read,
        }
    }

    /// As [`Self::read`], for whoever continues to read: while nothing answers, there are no bytes.
    ///
    /// # Errors
    /// As for [`Self::read`].
    pub(crate) async fn follow(&mut self, from: ConsolePosition) -> Result<LogChunk, ExitProblem> {
        match self.read(from).await {
            Err(problem) if is_silence(&problem) => Ok(LogChunk {
                bytes: Vec::new(),
                next: from,
            }),
            read => read,
        }
    }

    async fn read_source(&self, from: ConsolePosition) -> Result<LogChunk, ExitProblem> {
        match &self.source {
            ConsoleSource::Host(log) => Ok(log.read(from).await?),
            ConsoleSource::Daemon(daemon) => {
                let request = ConsoleLogRequest {
                    namespace: self.namespace.clone(),
                    name: self.name.clone(),
                    uid: self.uid.clone(),
                    from: from.offset,
                };
                let piece = daemon.call(request).await?;
                Ok(LogChunk {
                    bytes: piece.bytes,
                    next: ConsolePosition { offset: piece.next },
                })
            }
        }
    }
}

/// Whether a request may have been carried out although there is no answer.
fn was_sent(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, NotFound, PermissionDenied};
    !matches!(
        error.kind(),
        ConnectionRefused | NotFound | PermissionDenied
    )
}

/// The problem of a request that may have been carried out, and is not sent again.
fn unknown(why: &io::Error) -> ExitProblem {
    let message = format!(
        "the process that has the journal ended before it answered, and it is not known whether that was recorded: {why}"
    );
    let remedy = "see `vsiflow history NAME`, then repeat the command if it is still to be done";
    ExitProblem::new(Exit::Failed, "VSI0767", message, remedy)
}

/// Whoever runs this process.
fn owner() -> Caller {
    Caller {
        actor: actor::by("").actor,
        rights: Rights::Everything,
    }
}

/// Opens the journal; in a set, all of them.
async fn opened(common: &Common, usage: JournalUse) -> Result<Vec<App>, ExitProblem> {
    match &common.set {
        Some(place) => place.open_all_to_read(common).await,
        None if usage == JournalUse::Record => Ok(vec![App::open_to_record(common).await?]),
        None if usage == JournalUse::Work => Ok(vec![App::open_to_work(common).await?]),
        None => Ok(vec![App::open(common).await?]),
    }
}

/// The journals of a set that no process works on.
pub(crate) async fn unheld(common: &Common) -> Result<Vec<usize>, ExitProblem> {
    let Some(place) = &common.set else {
        return Ok(Vec::new());
    };
    let free = place.set.free().await;
    let free = free.map_err(compose::database::problem)?;
    Ok(free.into_iter().map(usize::from).collect())
}
