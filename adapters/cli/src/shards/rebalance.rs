//! Balances the journals of a set over its processes: takes journals up to the process's share, and releases
//! the rest.
//!
//! Shares follow from the processes that report that they are alive; only leases decide which process has a
//! journal. So processes that count differently may leave a journal without a holder for a moment, but never
//! with two.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use vsiflow_api::Api;
use vsiflow_postgres::{
    Held, PostgresError, hold,
    shards::{ShardError, ShardSet},
};

use super::{
    SetPlace, ask,
    cluster::SharedCluster,
    journal, problem, share,
    view::{HeldJournals, SetView},
};
use crate::{
    args::{Common, ServeArgs},
    compose::{journal_key, state_path},
    daemon::{self, DaemonServer},
    exit::{CommandOutcome, Exit, ExitProblem},
    metrics::Metrics,
    output,
    serving::listen,
    supervisor, work,
};

/// How often a process reports that it is alive, and computes its share.
const INTERVAL: Duration = Duration::from_secs(1);
/// How often to check whether another process still answers the owner of the state directory.
const ANSWERED: Duration = Duration::from_secs(5);
/// How often old answers are deleted.
const TIDY: Duration = Duration::from_secs(600);

/// A journal that this process works on.
struct Running {
    stop: CancellationToken,
}

/// A process of a set.
struct Process {
    name: String,
    place: SetPlace,
    common: Common,
    lasts: Duration,
    service: journal::Service,
    view: Arc<SetView>,
    running: BTreeMap<u16, Running>,
    tasks: JoinSet<(u16, CommandOutcome)>,
}

/// Works on a share of the journals until it is stopped.
///
/// # Errors
/// VSI0760 and VSI0761 if there is no such set, and when a journal cannot be worked on.
pub(crate) async fn serve(
    common: &Common,
    args: &ServeArgs,
    metrics: &Arc<Metrics>,
) -> CommandOutcome {
    refuse_options(common, args)?;
    let Some(address) = common.journal()? else {
        let message = "--shards shares journals of a database, and none is named";
        let remedy = "name one with --journal postgres://USER@HOST/DATABASE";
        return Err(ExitProblem::new(Exit::Usage, "VSI0760", message, remedy));
    };
    let sealer = journal_key::needed().await?;
    let cluster = SharedCluster::of(common, &args.cluster).await?;
    let opening = open(address, args.shards.journals);
    let set = tokio::select! {
        set = opening => set?,
        () = work::interrupted() => return Ok(Exit::Done),
    };
    let place = SetPlace::new(set, state_path(common)?);
    let own = HeldJournals::default();
    let view = SetView::new(place.clone(), common, own.clone(), sealer.clone());
    let view = Arc::new(view);
    let mut process = Process {
        name: ask::id(),
        place,
        common: common.clone(),
        lasts: args.lease.unwrap_or(hold::LEASE_DURATION),
        service: journal::Service {
            args: Arc::new(args.clone()),
            metrics: metrics.clone(),
            sealer,
            own,
            cluster: cluster.clone(),
        },
        view: view.clone(),
        running: BTreeMap::new(),
        tasks: JoinSet::new(),
    };
    let api = daemon::api_of_set(view, process.place.clone(), common);
    let state = process.place.folder().to_owned();
    let outcome = tokio::select! {
        outcome = process.share() => outcome,
        deaf = answer_owner(&api, &state) => Err(deaf),
        deaf = listen::serve(&api, &state, &args.listen) => Err(deaf),
        ended = watch(cluster.as_ref(), metrics) => Err(ended),
    };
    metrics.ready.store(false, Ordering::Relaxed);
    supervisor::stopping();
    // Before the journals are released, so that their holders record it.
    api.end_consoles().await;
    process.end().await;
    outcome
}

/// Watches the cluster that is served, if any.
async fn watch(cluster: Option<&SharedCluster>, metrics: &Metrics) -> ExitProblem {
    match cluster {
        Some(cluster) => cluster.watch(metrics).await,
        None => std::future::pending().await,
    }
}

/// Answers the owner of the state directory, unless another process that has it does.
async fn answer_owner(api: &Api, state: &Path) -> ExitProblem {
    loop {
        // At the first start the directory does not exist yet.
        if let Err(error) = tokio::fs::create_dir_all(state).await {
            tracing::warn!(%error, "no folder for a socket can be made");
        }
        match DaemonServer::start_for_set(api, state).await {
            Ok(Some(mut server)) => return server.ended().await,
            Ok(None) => {}
            Err(problem) => return problem,
        }
        sleep(ANSWERED).await;
    }
}

/// Opens or makes a set; waits for a database server that does not answer.
async fn open(
    address: &vsiflow_postgres::JournalAddress,
    journals: Option<u16>,
) -> Result<ShardSet, ExitProblem> {
    let mut reported = false;
    loop {
        let opened = match journals {
            Some(journals) => ShardSet::make(address, journals).await.map(Some),
            None => ShardSet::open(address).await.map_err(ShardError::from),
        };
        match opened {
            Ok(Some(set)) => return Ok(set),
            Ok(None) => {
                let message = format!("{address} is not a set of journals");
                let remedy = "say at the first start how many it is to have, such as --journals 8";
                return Err(ExitProblem::new(Exit::Usage, "VSI0760", message, remedy));
            }
            Err(error @ ShardError::Postgres(PostgresError::Unreachable { .. })) => {
                if !std::mem::replace(&mut reported, true) {
                    output::note(&format!("waiting, since {error}"));
                }
            }
            Err(error) => return Err(problem(&error)),
        }
        sleep(INTERVAL).await;
    }
}

/// Refuses options that only apply to a single daemon.
fn refuse_options(common: &Common, args: &ServeArgs) -> Result<(), ExitProblem> {
    let options = [
        (common.read_only.is_some(), "--read-only"),
        (args.sign_key.is_some(), "--sign-key"),
        (args.folder.dir.is_some(), "--dir"),
    ];
    if args.listen.listen.is_some() && args.listen.tls_cert.is_none() {
        let message = "--listen needs --tls-cert and --tls-key with --shards: a token is for one certificate, and any process \
                       of the set may be asked";
        let remedy = "give all processes one certificate and its key";
        return Err(ExitProblem::new(Exit::Usage, "VSI0762", message, remedy));
    }
    let Some((_, option)) = options.into_iter().find(|(options, _)| *options) else {
        return Ok(());
    };
    let message =
        format!("{option} is that of a process that has all journals, and --shards shares them");
    let remedy = format!("leave {option} out, or serve one journal without --shards");
    Err(ExitProblem::new(Exit::Usage, "VSI0762", message, &remedy))
}

impl Process {
    async fn share(&mut self) -> CommandOutcome {
        let mut interrupted = std::pin::pin!(work::interrupted());
        let mut lives = Instant::now();
        let mut tidied = Instant::now();
        let set = self.place.set.clone();
        output::note(&format!(
            "sharing the {} journals of {}",
            set.journals(),
            set.place()
        ));
        supervisor::ready();
        loop {
            tokio::select! {
                () = &mut interrupted => return Ok(Exit::Done),
                never = supervisor::watchdog() => match never {},
                Some(ended) = self.tasks.join_next() => {
                    let (number, outcome) = ended.map_err(ExitProblem::defect)?;
                    self.running.remove(&number);
                    outcome?;
                }
                () = sleep(lives.saturating_duration_since(Instant::now())) => {
                    lives = Instant::now() + INTERVAL;
                    if let Err(error) = self.update_share().await {
                        // Leases expire on their own, and this process ends with the first of them.
                        tracing::warn!(%error, "the set cannot be read");
                    }
                    self.view.tidy();
                    if tidied.elapsed() > TIDY {
                        tidied = Instant::now();
                        let _ = set.forget_answers().await;
                    }
                }
            }
        }
    }

    /// Computes this process's share, and takes or releases journals to reach it.
    async fn update_share(&mut self) -> Result<(), PostgresError> {
        let set = self.place.set.clone();
        let ranking = set.live(&self.name).await?;
        let share = share::of(set.journals(), ranking.rank, ranking.living);
        let is_retained = |running: &&Running| !running.stop.is_cancelled();
        let own = self.running.values().filter(is_retained).count();
        // Releases the highest numbers, where a process that joined later finds them.
        for (number, running) in self.running.iter().rev().take(own.saturating_sub(share)) {
            output::note(&format!("handing over journal {number}"));
            running.stop.cancel();
        }
        if own < share {
            for number in set.free().await? {
                if self.running.len() >= share {
                    break;
                }
                if !self.running.contains_key(&number) {
                    self.take(number).await?;
                }
            }
        }
        let ready = self.service.metrics.clone();
        ready.ready.store(true, Ordering::Relaxed);
        Ok(())
    }

    async fn take(&mut self, number: u16) -> Result<(), PostgresError> {
        let held = match Held::take(&self.place.set.member(number), self.lasts).await {
            Ok(held) => held,
            // Another process took it first.
            Err(PostgresError::InUse { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        let common = self.place.member(&self.common, number, Some(held.clone()));
        let Some(shard) = common.shard.clone() else {
            return Ok(());
        };
        let stop = CancellationToken::new();
        let running = Running { stop: stop.clone() };
        self.running.insert(number, running);
        let service = self.service.clone();
        let work = async move {
            let made = tokio::fs::create_dir_all(shard.folder()).await;
            let outcome = match made {
                Ok(()) => journal::keep(service, common, shard, held, stop).await,
                Err(error) => {
                    held.release().await;
                    let remedy = "name a folder with --state that this user may write to";
                    let message = format!("no folder can be made beside a journal: {error}");
                    Err(ExitProblem::new(Exit::Failed, "VSI0006", message, remedy))
                }
            };
            (number, outcome)
        };
        self.tasks.spawn(Box::pin(work));
        Ok(())
    }

    /// Releases all journals.
    async fn end(&mut self) {
        for running in self.running.values() {
            running.stop.cancel();
        }
        while let Some(ended) = self.tasks.join_next().await {
            if let Ok((number, Err(problem))) = ended {
                output::note(&format!("journal {number}: {}", problem.message));
            }
        }
        if self.place.set.leave(&self.name).await.is_err() {
            tracing::debug!("others count this process as dead in a while");
        }
    }
}
