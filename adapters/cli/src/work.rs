//! What commands that work have in common: reading documents, waiting, and saying how it came out.

use std::{
    future::Future,
    path::{Path, PathBuf},
};

use tokio::sync::broadcast::error::RecvError;
use vsiflow_engine::{
    Notice,
    clock::{Clock as _, SystemClock},
    model::{EntityId, EventKind, RunId, StreamId, Timestamp},
};
use vsiflow_file::{Input, Text};
use vsiflow_workflows::{
    fleet::{FleetError, Verdict},
    spec::{Directory, HostSettings, Resolved},
    wanted::kind,
};

use crate::{
    args::{Common, Format, UploadArgs, WaitArgs},
    compose::App,
    daemon::Server,
    exit::{Exit, Problem},
    output::{self, live::Live},
};

/// A VSI, a data disk or an image a command works on.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) entity: EntityId,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Target {
    /// An image; those have no namespace.
    pub(crate) fn image(entity: EntityId, name: String) -> Self {
        let namespace = "default".to_owned();
        Self {
            entity,
            namespace,
            name,
        }
    }

    pub(crate) fn label(&self) -> String {
        label(&self.namespace, &self.name)
    }

    /// With its kind, as `vsi/NAME`.
    pub(crate) fn shown(&self) -> String {
        format!("{}/{}", self.entity.kind(), self.label())
    }

    /// As commands take it: a VSI without its kind.
    fn word(&self) -> String {
        match self.is_vsi() {
            true => self.label(),
            false => self.shown(),
        }
    }

    pub(crate) fn is_vsi(&self) -> bool {
        self.entity.kind().as_str() == kind::VSI
    }

    fn is_disk(&self) -> bool {
        self.entity.kind().as_str() == kind::DISK
    }
}

/// `NAME`, or `NAMESPACE/NAME` outside the default namespace.
pub(crate) fn label(namespace: &str, name: &str) -> String {
    if namespace == "default" {
        name.to_owned()
    } else {
        format!("{namespace}/{name}")
    }
}

/// What a command's documents are read from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given {
    pub(crate) files: Vec<Text>,
    /// The directory they are all in, where only one is named.
    pub(crate) directory: Option<Directory>,
}

tokio::task_local! {
    static GIVEN: Given;
}

/// Does some work with documents that were read already.
pub(crate) async fn with_files<T>(given: Given, work: impl Future<Output = T>) -> T {
    GIVEN.scope(given, work).await
}

/// Reads the files that a command names, so that it can be done here or elsewhere.
pub(crate) async fn gather(files: &[PathBuf], recursive: bool) -> Result<Given, Problem> {
    // A caller's were read by the caller: here the same names may be other files.
    if let Ok(given) = GIVEN.try_with(Given::clone) {
        return Ok(given);
    }
    let inputs: Vec<_> = files.iter().map(|path| input(path)).collect();
    let read = move || {
        let files = vsiflow_file::gather(&inputs, recursive, &mut std::io::stdin())?;
        // One that cannot be looked at is none: nothing is ever pruned by it.
        let directory = vsiflow_file::directory(&inputs, recursive).unwrap_or_default();
        Ok(Given { files, directory })
    };
    off_runtime(read).await?.map_err(said)
}

/// The directory that the documents were read from already.
pub(crate) fn directory() -> Option<Directory> {
    GIVEN
        .try_with(|given| given.directory.clone())
        .ok()
        .flatten()
}

/// The inputs of a command: what was read already, else the files.
pub(crate) fn inputs(files: &[PathBuf]) -> Vec<Input> {
    let given = GIVEN.try_with(|given| given.files.iter().cloned().map(Input::Given).collect());
    given.unwrap_or_else(|_| files.iter().map(|path| input(path)).collect())
}

/// Does what blocks on a thread made for it.
pub(crate) async fn off_runtime<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| {
        let remedy = "please report this";
        Problem::new(Exit::Failed, "VSI0001", error.to_string(), remedy)
    })
}

/// Says what is wrong with documents; nothing is left to be said then.
pub(crate) fn said(vsiflow_file::Diagnostics(wrong): vsiflow_file::Diagnostics) -> Problem {
    output::diagnostics(&wrong);
    Problem::new(Exit::Usage, "", "", "")
}

/// Reads the documents and follows their selectors; `--host` takes the place of their hosts.
/// What is wrong with them is printed, all of it, and nothing is done.
pub(crate) async fn documents(
    common: &Common,
    files: &[PathBuf],
    recursive: bool,
) -> Result<Resolved, Problem> {
    let host = host(common)?;
    let inputs = inputs(files);
    let read = move || {
        let loaded = vsiflow_file::load(&inputs, recursive, &mut std::io::stdin())?;
        let resolved = loaded.resolve(host.as_ref())?;
        let mut warnings = loaded.warn_of(&resolved.lacking);
        warnings.extend(loaded.exposed());
        warnings.extend(loaded.warnings);
        Ok((resolved, warnings))
    };
    let (resolved, warnings) = off_runtime(read).await?.map_err(said)?;
    output::diagnostics(&warnings);
    Ok(resolved)
}

/// What documents would be if they were applied to the cluster that is served: with the host
/// settings, disks and networks that are there.
pub(crate) async fn in_cluster(
    view: &vsiflow_kube::View,
    common: &Common,
    files: &[PathBuf],
) -> Result<Resolved, Problem> {
    let named = host(common)?;
    let inputs = inputs(files);
    let read = move || vsiflow_file::load(&inputs, false, &mut std::io::stdin());
    let mut loaded = off_runtime(read).await?.map_err(said)?;
    let disks = loaded.documents.data_disks.iter();
    let own: Vec<_> = disks.map(|disk| disk.meta.full_name()).collect();
    view.complete(&mut loaded.documents);
    let host = named.as_ref().or(view.host());
    let mut resolved = loaded.resolve(host).map_err(said)?;
    resolved.data_disks.retain(|disk| {
        let name = format!("{}/{}", disk.namespace, disk.name);
        own.contains(&name)
    });
    // What the cluster's own resources lack is told in their status.
    let mut lacking = resolved.lacking.clone();
    lacking.retain(|one| !vsiflow_kube::View::is_of_cluster(&one.document));
    output::diagnostics(&loaded.warn_of(&lacking));
    output::diagnostics(&loaded.warnings);
    Ok(resolved)
}

pub(crate) fn input(path: &Path) -> Input {
    if path.as_os_str() == "-" {
        Input::Stdin
    } else {
        Input::Path(path.to_owned())
    }
}

/// The host that `--host` names.
pub(crate) fn host(common: &Common) -> Result<Option<HostSettings>, Problem> {
    let Some(uri) = &common.host else {
        return Ok(None);
    };
    let parsed = uri.parse::<HostSettings>();
    parsed
        .map(Some)
        .map_err(|error| Problem::new(Exit::Usage, "VSI0607", error.message, error.remedy))
}

/// What the command line says of uploads takes the place of what the host's settings say.
pub(crate) fn limit_uploads(args: &UploadArgs, host: &mut HostSettings) {
    if let Some(limit) = args.upload_limit {
        host.record.limit_uploads(limit);
    }
}

/// For how long a command waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// Until it is known how the newest boot, or whatever is wanted, came out.
    Decided,
    /// Beyond boots that failed and are tried again by themselves.
    Over,
}

impl Until {
    fn verdict(self, app: &App, entity: &EntityId) -> Option<Verdict> {
        let verdict = app.fleet.verdict(entity)?;
        let again = self == Self::Over && app.fleet.next_try(entity).is_some();
        (!again).then_some(verdict)
    }
}

/// Stays until it is known what became of these, then lets go of the state directory.
pub(crate) async fn see_through(
    app: App,
    common: &Common,
    targets: &[Target],
) -> Result<Exit, Problem> {
    let wait = WaitArgs {
        wait: true,
        timeout: None,
    };
    let exit = until_decided(&app, common, &wait, targets, Until::Decided, "").await?;
    app.close().await;
    Ok(exit)
}

/// Waits until every target's outcome is decided, tells what is going on meanwhile, and says how
/// each came out. The worst outcome decides the exit code.
pub(crate) async fn until_decided(
    app: &App,
    common: &Common,
    wait: &WaitArgs,
    targets: &[Target],
    until: Until,
    done: &str,
) -> Result<Exit, Problem> {
    if app.is_borrowed() && app.stays() && !wait.wait && wait.timeout.is_none() {
        return Ok(Exit::Done);
    }
    let answers = Server::start(app);
    let mut live = Live::new(common.quiet);
    let ended = tokio::select! {
        ended = watch(app, targets, until, &mut live) => ended.map(|()| None),
        () = elapsed(wait.timeout) => Ok(Some(Exit::TimedOut)),
        () = interrupted() => Ok(Some(Exit::Interrupted)),
    };
    live.finish();
    let early = ended?;
    let mut exit = Exit::Done;
    for target in targets {
        let verdict = until.verdict(app, &target.entity);
        exit = exit.max(say(app, target, verdict, early, wait, done));
    }
    if let Some(answers) = answers {
        answers.finish().await;
    }
    Ok(exit)
}

async fn elapsed(timeout: Option<std::time::Duration>) {
    match timeout {
        Some(timeout) => tokio::time::sleep(timeout).await,
        None => std::future::pending().await,
    }
}

/// Ctrl-C or SIGTERM.
pub(crate) async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        let _ = tokio::signal::ctrl_c().await;
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

/// Standard input ended: whoever this was run for is gone.
pub(crate) async fn left_alone() {
    // A caller's command has none of its own.
    if App::held().is_some() {
        return std::future::pending().await;
    }
    let (ended, end) = tokio::sync::oneshot::channel();
    // A thread of its own: a read that nothing ends must not hold up the end of this process.
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = ended.send(());
    });
    let _ = end.await;
}

pub(crate) async fn watch(
    app: &App,
    targets: &[Target],
    until: Until,
    live: &mut Live,
) -> Result<(), FleetError> {
    let mut notices = app.notices();
    let mut show = |notice: &Notice| {
        live.show(notice, |run| named(app, targets, run));
        tell_next_try(app, targets, notice, until);
    };
    loop {
        while let Ok(notice) = notices.try_recv() {
            show(&notice);
        }
        if targets
            .iter()
            .all(|target| until.verdict(app, &target.entity).is_some())
        {
            return Ok(());
        }
        match notices.recv().await {
            Ok(Notice::Ended) | Err(RecvError::Closed) => {
                // Says why the engine ended.
                for target in targets {
                    app.fleet.decided(&target.entity).await?;
                }
                return Ok(());
            }
            Ok(notice) => show(&notice),
            Err(RecvError::Lagged(_)) => {}
        }
    }
}

/// Whoever waits beyond a failed boot learns for what.
fn tell_next_try(app: &App, targets: &[Target], notice: &Notice, until: Until) {
    let Notice::Recorded(record) = notice else {
        return;
    };
    let scheduled = matches!(record.event.kind, EventKind::RetryScheduled { .. });
    for target in targets {
        let its = record.stream == StreamId::Entity(target.entity.clone());
        if let Some(due) = app.fleet.next_try(&target.entity)
            && scheduled
            && its
            && until == Until::Over
        {
            output::note(&format!(
                "{}: the next try is due in {} s",
                target.shown(),
                seconds_until(due)
            ));
        }
    }
}

fn seconds_until(due: Timestamp) -> u64 {
    SystemClock.now().millis_until(due).div_ceil(1000)
}

fn named(app: &App, targets: &[Target], run: RunId) -> String {
    let Some(entity) = app.fleet.entity_of(run) else {
        return "run".to_owned();
    };
    match targets.iter().find(|target| target.entity == entity) {
        Some(target) => target.label(),
        None => entity.kind().to_string(),
    }
}

fn say(
    app: &App,
    target: &Target,
    verdict: Option<Verdict>,
    early: Option<Exit>,
    wait: &WaitArgs,
    done: &str,
) -> Exit {
    let (shown, word) = (target.shown(), target.word());
    match (verdict, early) {
        (Some(verdict), _) => {
            let exit = Exit::from(&verdict);
            match verdict {
                Verdict::Reached if done.is_empty() && target.is_disk() => {}
                Verdict::Reached if done.is_empty() => {
                    let phase = app.fleet.phase(&target.entity);
                    output::line(&format!("{shown} is {phase}"));
                }
                Verdict::Reached => output::line(&format!("{shown} {done}")),
                Verdict::Failed(failure) | Verdict::Blocked(failure) => {
                    output::note(&format!("{shown}:"));
                    output::problem(&Problem::of(exit, &failure));
                    if let Some(due) = app.fleet.next_try(&target.entity) {
                        output::note(&next_try(target, due));
                    }
                }
                Verdict::Cancelled => output::note(&match target.is_vsi() || target.is_disk() {
                    true => format!("{shown} was cancelled; `vsiflow retry {word}` goes on"),
                    false => format!("{shown} was cancelled; `vsiflow image upload` goes on"),
                }),
            }
            exit
        }
        (None, Some(Exit::Interrupted)) => {
            output::note(&format!(
                "{shown}: interrupted; `vsiflow resume {word}` goes on"
            ));
            Exit::Interrupted
        }
        (None, _) => {
            timed_out(app, target, wait);
            Exit::TimedOut
        }
    }
}

/// The engine tries again by itself only as long as some vsiflow works.
fn next_try(target: &Target, due: Timestamp) -> String {
    let (seconds, shown, word) = (seconds_until(due), target.shown(), target.word());
    format!(
        "{shown}: the next try is due in {seconds} s; `vsiflow resume {word}` sees to it, \
         `vsiflow retry {word}` does not wait"
    )
}

fn timed_out(app: &App, target: &Target, wait: &WaitArgs) {
    let (shown, word) = (target.shown(), target.word());
    let after = wait
        .timeout
        .map(|t| humantime::format_duration(t).to_string())
        .unwrap_or_default();
    output::note(&format!(
        "{shown}: not decided after {after}; `vsiflow resume {word}` goes on"
    ));
    let failure = match app.fleet.verdict(&target.entity) {
        Some(Verdict::Failed(failure)) => Some(failure),
        _ => app.fleet.obstacle(&target.entity),
    };
    if let Some(failure) = failure {
        output::problem(&Problem::of(Exit::TimedOut, &failure));
    }
}

/// How a data disk is told from a VSI.
pub(crate) const DISK: &str = "disk/";

/// The VSIs and data disks of these names.
pub(crate) async fn targets_named(
    app: &App,
    namespace: &str,
    names: &[String],
) -> Result<Vec<Target>, Problem> {
    let mut targets = Vec::new();
    for name in names {
        let (name, entity) = match name.strip_prefix(DISK) {
            Some(name) => (name.to_owned(), app.fleet.disk(namespace, name).await?),
            None => {
                let name = crate::args::without_kind(name).to_owned();
                let entity = app.fleet.vsi(namespace, &name).await?;
                (name, entity)
            }
        };
        targets.push(Target {
            entity,
            namespace: namespace.to_owned(),
            name,
        });
    }
    Ok(targets)
}

/// Entities with the names people gave them.
pub(crate) async fn targets_of(app: &App, entities: &[EntityId]) -> Result<Vec<Target>, Problem> {
    let objects = app.fleet.vsis(false).await?;
    let named = entities.iter().filter_map(|entity| {
        let object = objects
            .iter()
            .find(|object| object.metadata.uid == entity.id())?;
        Some(Target {
            entity: entity.clone(),
            namespace: object.metadata.namespace.clone(),
            name: object.metadata.name.clone(),
        })
    });
    Ok(named.collect())
}

/// Prints targets as objects.
pub(crate) async fn print_vsis(
    app: &App,
    targets: &[Target],
    format: Format,
) -> Result<(), Problem> {
    let mut objects = Vec::new();
    for target in targets {
        objects.push(app.fleet.get(&target.namespace, &target.name).await?);
    }
    match (format, objects.as_slice()) {
        (Format::Name, all) => {
            all.iter()
                .for_each(|object| output::line(&format!("vsi/{}", object.metadata.name)));
            Ok(())
        }
        (Format::Wide, all) => {
            output::table(&output::table::vsis(all, true, false), "vsis");
            Ok(())
        }
        (format, [one]) => output::print(one, format),
        (format, all) => output::print(&output::list(all), format),
    }
}

/// The host: by `--host`, or by the one ConfigMap and Secret of the files.
pub(crate) async fn one_host(common: &Common, files: &[PathBuf]) -> Result<HostSettings, Problem> {
    if let Some(host) = host(common)? {
        return Ok(host);
    }
    if files.is_empty() {
        let message = "no host is named";
        let remedy = "give the file with the host's ConfigMap and Secret with -f, or --host";
        return Err(Problem::new(Exit::Usage, "VSI0607", message, remedy));
    }
    let inputs = inputs(files);
    let read = move || vsiflow_file::load(&inputs, false, &mut std::io::stdin());
    let loaded = off_runtime(read).await?.map_err(said)?;
    let (maps, secrets) = (&loaded.documents.config_maps, &loaded.documents.secrets);
    if maps.len() > 1 || secrets.len() > 1 || maps.is_empty() && secrets.is_empty() {
        let message = "the files describe no host, or several";
        let remedy = "name a file with one host's ConfigMap and Secret, or the host with --host";
        return Err(Problem::new(Exit::Usage, "VSI0607", message, remedy));
    }
    let map = maps.first().map(|document| &document.spec);
    let secret = secrets.first().map(|document| &document.spec);
    HostSettings::from_keys(map, secret).map_err(|error| {
        let message = format!("{}: {}", error.key, error.message);
        Problem::new(Exit::Usage, "VSI0607", message, error.remedy)
    })
}
