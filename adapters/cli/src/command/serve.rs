//! `serve`: works on all objects and answers other commands, until it is stopped.

use std::{
    convert::Infallible,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::{broadcast::Receiver, watch},
    time::Instant,
};
use vsiflow_engine::{
    Notice,
    lease::{BootInstant, Lease},
};
use vsiflow_kube::{Operator, leader::Election};
use vsiflow_postgres::{Held, PostgresError, hold};

use crate::{
    args::{Common, ServeArgs},
    compose::{App, Right, database, retention},
    daemon::{self, DaemonServer},
    ending::{exit_at_once, not_panicking},
    exit::{CommandOutcome, Exit, ExitProblem, IN_USE},
    folder,
    key_file::signing_key,
    metrics::{self, Metrics},
    output::{self, serving::report_images},
    serving::{
        cluster::ServedCluster,
        listen::{self, deaf},
        subresources, traces,
    },
    shards,
    ssh::keeper,
    supervisor,
    work::{self, keep_current, tell},
};

/// How often a lease is renewed during its duration.
const RENEWALS: u32 = 3;

pub(super) async fn run(common: &Common, args: ServeArgs) -> CommandOutcome {
    let metrics = Metrics::new();
    let Some(address) = args.metrics_address else {
        return Box::pin(serve_as_leader(common, &args, &metrics)).await;
    };
    // The endpoint answers from the start: a standby is alive, but not ready.
    tokio::select! {
        outcome = serve_as_leader(common, &args, &metrics) => outcome,
        served = metrics::serve(metrics.clone(), address) => {
            Err(deaf(address, served.err(), "--metrics-address"))
        }
    }
}

/// Works as long as this process has the lease.
async fn serve_as_leader(
    common: &Common,
    args: &ServeArgs,
    metrics: &Arc<Metrics>,
) -> CommandOutcome {
    if args.shards.shards.is_some() {
        return Box::pin(shards::serve(common, args, metrics)).await;
    }
    shards::front::is_no_set(common).await?;
    let cluster = ServedCluster::of(common, &args.cluster).await?;
    let election = cluster.as_ref().and_then(|cluster| cluster.election(args));
    if let (Some(_), Some(address)) = (&election, common.journal()?) {
        let message = format!("--leader-elect was given, and {address} elects, too");
        let remedy = "leave --leader-elect out: a standby waits for the journal";
        return Err(ExitProblem::new(Exit::Usage, "VSI0837", message, remedy));
    }
    let Some(held) = win(common, args).await? else {
        return Ok(Exit::Done);
    };
    let lease = match &election {
        _ if held.is_some() => held.as_ref().map(|held| held.lease()),
        Some(election) => {
            output::note("waiting for the Lease");
            tokio::select! {
                lease = election.win() => Some(lease),
                () = work::interrupted() => return Ok(Exit::Done),
            }
        }
        None => args
            .lease
            .map(|lasts| Lease::new(BootInstant::now(), lasts)),
    };
    let right = Right {
        lease: lease.clone(),
        held,
    };
    let exit = tokio::select! {
        biased;
        () = lost(lease.as_deref()) => return Ok(exit_at_once()),
        () = renew(&right, args.lease, election.as_ref()) => return Ok(exit_at_once()),
        exit = not_panicking(open_and_serve(common, args, cluster.as_ref(), &right, metrics)) => exit,
    };
    // The engine may have noticed first; then its exit does not matter.
    if lease.as_ref().is_some_and(|lease| lease.check().is_err()) {
        return Ok(exit_at_once());
    }
    if let Some(won) = &right.held {
        won.release().await;
    }
    if let (Some(election), Some(lease)) = (election, lease) {
        lease.give_up();
        election.release().await;
    }
    exit
}

/// Waits for the lease of a journal in a database. The outer `None` means interrupted; the inner
/// one that the journal is in a state directory.
async fn win(common: &Common, args: &ServeArgs) -> Result<Option<Option<Arc<Held>>>, ExitProblem> {
    let Some(address) = common.journal()? else {
        return Ok(Some(None));
    };
    let lasts = args.lease.unwrap_or(hold::LEASE_DURATION);
    let mut reported = false;
    let waits = |error: &PostgresError| {
        if !std::mem::replace(&mut reported, true) {
            output::note(&format!("waiting, since {error}"));
        }
    };
    tokio::select! {
        held = Held::win(address, lasts, waits) => {
            held.map(|held| Some(Some(held))).map_err(database::problem)
        }
        () = work::interrupted() => Ok(None),
    }
}

/// Opens the state directory and works on it.
async fn open_and_serve(
    common: &Common,
    args: &ServeArgs,
    cluster: Option<&ServedCluster>,
    right: &Right,
    metrics: &Arc<Metrics>,
) -> CommandOutcome {
    let bounds = cluster.map(ServedCluster::bounds).unwrap_or_default();
    let signer = signing_key(args.sign_key.as_deref()).await?;
    let open = || App::open_to_serve(common, right.clone(), metrics.clone(), bounds.clone());
    let Some(app) = once_free(open, args.cluster.leader_elect).await? else {
        return Ok(Exit::Done);
    };
    if let Some(key) = signer {
        app.fleet.sign_bases_with(Arc::new(key));
    }
    Box::pin(serve(app, common, args, cluster, metrics)).await
}

/// Opens a state directory that another process may have. Waits for a command that ends within
/// [`SOON`]. A leader waits as long as it leads: the previous leader may not have ended yet,
/// although it cannot act any more. `None` means interrupted.
async fn once_free<Opening>(
    open: impl Fn() -> Opening,
    leads: bool,
) -> Result<Option<App>, ExitProblem>
where
    Opening: Future<Output = Result<App, ExitProblem>>,
{
    let until = Instant::now() + SOON;
    let mut reported = false;
    loop {
        match open().await {
            Err(problem) if problem.code == IN_USE && (leads || Instant::now() < until) => {
                if !std::mem::replace(&mut reported, true) {
                    output::note(&format!("waiting, since {}", problem.message));
                }
                tokio::select! {
                    () = work::interrupted() => return Ok(None),
                    () = tokio::time::sleep(RETRY_DELAY) => {}
                }
            }
            opened => return opened.map(Some),
        }
    }
}

/// How long to wait for a command to end.
const SOON: Duration = Duration::from_secs(3);
/// The delay before a state directory in use is tried again.
const RETRY_DELAY: Duration = Duration::from_millis(250);

/// Works and answers until stopped.
async fn serve(
    app: App,
    common: &Common,
    args: &ServeArgs,
    cluster: Option<&ServedCluster>,
    metrics: &Arc<Metrics>,
) -> CommandOutcome {
    let mut interrupted = std::pin::pin!(work::interrupted());
    let mut looks = match &common.read_only {
        Some(path) => Some(DaemonServer::start_view_socket(&app, path)?),
        None => None,
    };
    let mut answers = DaemonServer::start_for_daemon(&app)?;
    output::note(&format!("serving {}", app.state_path().display()));
    supervisor::ready();
    let notices = app.fleet.notices();
    let operator = cluster.map(|cluster| cluster.operator(&app, metrics));
    let delivered = operator.as_ref().map(Operator::delivered);
    let subresources = operator.as_ref().map(Operator::subresources);
    let consoles = daemon::api(&app);
    let relay = cluster
        .map(|cluster| cluster.bounds().relay)
        .unwrap_or_default();
    let outcome = tokio::select! {
        () = &mut interrupted => Ok(Exit::Done),
        ended = tell(&app, common) => ended,
        ended = answers.ended() => Err(ended),
        ended = looks_ended(looks.as_mut()) => Err(ended),
        ended = work_on(&app, args, metrics, delivered) => ended,
        never = archive_now_and_then(&app, common, args) => match never {},
        never = app.fleet.images().run_policies(args.prune_images_every, report_images) => match never {},
        never = app.fleet.images().record_upload_progress() => match never {},
        ended = resources(cluster, operator) => Err(ended),
        ended = listen::serve(&consoles, app.state_path(), &args.listen) => Err(ended),
        ended = Box::pin(traces::keep(&app, args.otlp_endpoint.as_ref())) => Err(ended),
        ended = folder::follow(&app, common, &args.folder) => Err(ended),
        ended = subresources::serve(&app, &args.cluster, subresources, (&consoles, relay)) => Err(ended),
        never = measure(&app, args, notices, metrics) => match never {},
        never = measure_guests(&app, args, metrics) => match never {},
        never = keeper::keep(&app) => match never {},
        never = supervisor::watchdog() => match never {},
    };
    metrics.ready.store(false, Ordering::Relaxed);
    supervisor::stopping();
    for socket in std::iter::once(answers).chain(looks) {
        socket.finish().await;
    }
    consoles.end_consoles().await;
    app.close().await;
    outcome
}

/// Waits for the end of the viewers' socket, if there is one.
async fn looks_ended(looks: Option<&mut DaemonServer>) -> ExitProblem {
    match looks {
        Some(looks) => looks.ended().await,
        None => std::future::pending().await,
    }
}

/// Resumes all work, scans the hosts, and takes the snapshots that are due. Waits for the cluster's objects
/// first: without its secrets no work can proceed.
async fn work_on(
    app: &App,
    args: &ServeArgs,
    metrics: &Arc<Metrics>,
    delivered: Option<watch::Receiver<bool>>,
) -> CommandOutcome {
    if let Some(mut delivered) = delivered {
        let _ = delivered.wait_for(|done| *done).await;
    }
    app.fleet.drive_all().await?;
    metrics.ready.store(true, Ordering::Relaxed);
    keep_current(app, args.look_every).await
}

/// Serves the cluster's resources, if there is a cluster.
async fn resources(cluster: Option<&ServedCluster>, operator: Option<Operator>) -> ExitProblem {
    match (cluster, operator) {
        (Some(cluster), Some(operator)) => cluster.serve(operator).await,
        _ => std::future::pending().await,
    }
}

/// Counts engine notices, and measures everything else if there is a metrics endpoint.
async fn measure(
    app: &App,
    args: &ServeArgs,
    notices: Receiver<Notice>,
    metrics: &Arc<Metrics>,
) -> Infallible {
    let counted = metrics::follow(metrics.clone(), notices);
    let measured = async {
        if args.metrics_address.is_some() {
            metrics::measure(metrics.clone(), app.fleet.clone()).await;
        }
    };
    tokio::join!(counted, measured);
    std::future::pending().await
}

/// Polls hosts for the usage of guests, if there is a metrics endpoint.
async fn measure_guests(app: &App, args: &ServeArgs, metrics: &Arc<Metrics>) -> Infallible {
    if args.metrics_address.is_some() {
        metrics.poll_guests(&app.fleet).await;
    }
    std::future::pending().await
}

/// Archives old segments, while all other work continues.
pub(crate) async fn archive_now_and_then(
    app: &App,
    common: &Common,
    args: &ServeArgs,
) -> Infallible {
    loop {
        tokio::time::sleep(args.archive_every).await;
        retention::archive_if_due(app, common, args.archive_from).await;
    }
}

async fn lost(lease: Option<&Lease>) {
    match lease {
        Some(lease) => lease.ended().await,
        None => std::future::pending().await,
    }
}

/// Renews the lease until that fails. Without a database or a cluster to grant it, it expires if
/// this process did not run for the lease's duration.
async fn renew(right: &Right, lasts: Option<Duration>, election: Option<&Election>) {
    if let Some(held) = &right.held {
        held.keep().await;
        return;
    }
    let lease = right.lease.clone();
    if let (Some(lease), Some(election)) = (&lease, election) {
        return election.keep(lease).await;
    }
    let (Some(lease), Some(lasts)) = (lease, lasts) else {
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(lasts / RENEWALS).await;
        if lease.renew(BootInstant::now(), lasts).is_err() {
            return;
        }
    }
}
