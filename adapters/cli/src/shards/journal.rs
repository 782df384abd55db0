//! One journal of a set, while this process has its lease: the engine on it, and what is asked of it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use serde::Serialize;
use tokio::{
    task::{self, JoinSet},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use vsiflow_engine::secret::Secret;
use vsiflow_postgres::{
    Held,
    seal::Sealer,
    shards::requests::{Asked, Lane},
};

use super::{
    DECIDES, Membership,
    ask::{CommandAnswer, CommandAsked, CommandPart},
    choose,
    cluster::SharedCluster,
    front, members, own, report,
    view::HeldJournals,
};
use crate::{
    actor,
    args::{CliCommand, Common, ServeArgs, SnapshotCommand},
    compose::{App, Right, elsewhere},
    daemon,
    ending::{give_way, not_panicking},
    exit::{CommandOutcome, Exit, ExitProblem},
    metrics::{self, Metrics},
    output::{self, serving::told_of_images, sink},
    runner,
    work::{self, keep_up, tell},
};

/// How often it is looked for requests.
const POLL: Duration = Duration::from_millis(200);
/// Requests of one lane that are carried out at the same time.
const AT_ONCE: usize = 32;

/// What the service of each journal needs.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) args: Arc<ServeArgs>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) sealer: Sealer,
    pub(super) own: HeldJournals,
    /// The cluster whose resources are served, if any.
    pub(super) cluster: Option<SharedCluster>,
}

/// Works on a journal until it is told to stop; then lets it go, so that another process has it at
/// once. A lease that is lost ends the process.
pub(super) async fn keep(
    service: Service,
    common: Common,
    shard: Membership,
    held: Arc<Held>,
    stop: CancellationToken,
) -> CommandOutcome {
    let lease = held.lease();
    let right = Right {
        lease: None,
        held: Some(held.clone()),
    };
    let work = Box::pin(open_and_serve(&service, &common, &shard, right, &stop));
    let exit = tokio::select! {
        biased;
        () = lease.ended() => return Ok(give_way()),
        _ = held.keep() => return Ok(give_way()),
        exit = not_panicking(work) => exit,
    };
    if lease.check().is_err() {
        return Ok(give_way());
    }
    held.release().await;
    exit
}

async fn open_and_serve(
    service: &Service,
    common: &Common,
    shard: &Membership,
    right: Right,
    stop: &CancellationToken,
) -> CommandOutcome {
    let held = right.held.clone();
    let quiet = held.as_ref().map(|held| held.quiet());
    let bounds = service.cluster.as_ref().map(SharedCluster::bounds);
    let bounds = bounds.unwrap_or_default();
    let app = App::open_to_serve(common, right, service.metrics.clone(), bounds).await?;
    let Some(held) = held else {
        return Err(ExitProblem::defect("a journal is served without its right"));
    };
    let holder = Arc::new(JournalHolder {
        service: service.clone(),
        app: app.clone(),
        shard: shard.clone(),
        held,
        common: common.clone(),
        // As the ports of hosts have it, or a little later.
        acts_from: Instant::now() + quiet.unwrap_or_default(),
    });
    let settled = shard.set().settle_all_names(shard.number).await;
    settled.map_err(elsewhere::problem)?;
    if shard.number == DECIDES {
        let limited = app.fleet.quotas().namespaces().await?;
        let kept = shard.set().keep_limits(&holder.held, &limited).await;
        kept.map_err(elsewhere::problem)?;
        let (set, set_held) = (shard.set().clone(), holder.held.clone());
        let journals = members::Journals::new(set, service.sealer.clone(), set_held);
        app.fleet.pools().reach_over(Arc::new(journals));
    }
    let own = service.own.works_on(shard.number, &app);
    output::note(&format!("serving journal {}", shard.number));
    let counted = metrics::follow(service.metrics.clone(), app.fleet.notices());
    let every = service.args.prune_images_every;
    let outcome = tokio::select! {
        () = stop.cancelled() => Ok(Exit::Done),
        ended = tell(&app, common) => ended,
        ended = drive(&app, &service.args) => ended,
        never = app.fleet.images().keep_policies(every, told_of_images) => match never {},
        never = app.fleet.images().keep_upload_progress() => match never {},
        ended = answer(holder) => ended,
        ended = resources(service.cluster.as_ref(), &app, common, shard) => Err(ended),
        () = async { counted.await; std::future::pending::<()>().await } => Ok(Exit::Done),
    };
    drop(own);
    app.close().await;
    outcome
}

/// Serves the journal's share of a cluster, if any is served.
async fn resources(
    cluster: Option<&SharedCluster>,
    app: &App,
    common: &Common,
    shard: &Membership,
) -> ExitProblem {
    match cluster {
        Some(cluster) => cluster.serve(app, common, shard).await,
        None => std::future::pending().await,
    }
}

async fn drive(app: &App, args: &ServeArgs) -> CommandOutcome {
    app.fleet.drive_all().await?;
    keep_up(app, args.look_every).await
}

/// A journal that is held, as those need it who do what is asked of it.
pub(super) struct JournalHolder {
    pub(super) service: Service,
    pub(super) app: App,
    pub(super) shard: Membership,
    pub(super) held: Arc<Held>,
    /// What its commands are opened with.
    pub(super) common: Common,
    /// Until then hosts are left alone.
    acts_from: Instant,
}

impl JournalHolder {
    /// How long hosts are still left alone; none where they are not.
    pub(super) fn is_quiet_for(&self) -> Option<Duration> {
        let left = self.acts_from.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }
}

/// Carries out what is asked of this journal, several of each lane at a time. What is under way when this ends is
/// begun anew by the next holder, or answered as begun.
async fn answer(holder: Arc<JournalHolder>) -> CommandOutcome {
    let mut under_way = JoinSet::new();
    let mut lanes = HashMap::new();
    loop {
        while let Some(ended) = under_way.try_join_next_with_id() {
            lanes.remove(&task(&ended));
        }
        let has_room = |lane: &Lane| {
            let busy = lanes.values().filter(|busy| *busy == lane);
            busy.count() < AT_ONCE
        };
        let open: Vec<_> = Lane::ALL.into_iter().filter(has_room).collect();
        if open.is_empty() {
            if let Some(ended) = under_way.join_next_with_id().await {
                lanes.remove(&task(&ended));
            }
            continue;
        }
        let JournalHolder {
            service,
            shard,
            held,
            ..
        } = &*holder;
        let begun = shard.set();
        let begun = begun
            .begin(&service.sealer, held, shard.number, &open)
            .await;
        match begun {
            Ok(Some(asked)) => {
                let lane = asked.lane;
                let task = under_way.spawn(Box::pin(carry_out(holder.clone(), asked)));
                lanes.insert(task.id(), lane);
            }
            Ok(None) => sleep(POLL).await,
            Err(error) => {
                tracing::warn!(%error, journal = shard.number, "requests are not read");
                sleep(POLL).await;
            }
        }
    }
}

fn task(ended: &Result<(task::Id, ()), task::JoinError>) -> task::Id {
    match ended {
        Ok((id, ())) => *id,
        Err(error) => error.id(),
    }
}

/// Does what is asked, and stores the answer.
async fn carry_out(holder: Arc<JournalHolder>, asked: Asked) {
    let (id, lane) = (asked.id.clone(), asked.lane);
    let text = Box::pin(answer_to(&holder, asked)).await;
    let (set, sealer) = (holder.shard.set(), &holder.service.sealer);
    // Until it is stored: who asked waits for it, and the lease bounds it.
    while let Err(error) = set.answer(sealer, &holder.held, &id, &text).await {
        tracing::warn!(%error, "an answer is not stored yet");
        sleep(POLL).await;
    }
    if lane == Lane::Decision {
        choose::forget(&holder, &id).await;
    }
}

/// What is said to it: by what is asked, as who asked reads it.
async fn answer_to(holder: &Arc<JournalHolder>, asked: Asked) -> Secret {
    let read = serde_json::from_slice::<CommandAsked>(asked.request.expose());
    let Ok(read) = read.inspect_err(|error| tracing::warn!(%error, "a request cannot be read"))
    else {
        return text(&Box::pin(command(holder, asked)).await);
    };
    match &read.part {
        CommandPart::Report(_) => text(&report::report(holder, read).await),
        CommandPart::ReportMembers(_) => text(&members::carry_out::report(holder, read).await),
        CommandPart::AskGuests(_) => {
            text(&Box::pin(members::carry_out::ask_guests(holder, read)).await)
        }
        CommandPart::DecideMembers(ask) => {
            text(&Box::pin(members::carry_out::decide(holder, &asked.id, ask)).await)
        }
        CommandPart::MembersHandedOver(ask) => {
            text(&Box::pin(members::carry_out::take_over(holder, ask)).await)
        }
        CommandPart::Own
        | CommandPart::Named(_)
        | CommandPart::Decide
        | CommandPart::HandedOver(_) => text(&Box::pin(command(holder, asked)).await),
    }
}

fn text(answer: &impl Serialize) -> Secret {
    Secret::new(serde_json::to_vec(answer).unwrap_or_default())
}

/// Does a command with what this process has open, as the socket's callers have it done.
async fn command(holder: &Arc<JournalHolder>, asked: Asked) -> CommandAnswer {
    let Asked {
        id,
        request,
        begun,
        again,
        ..
    } = asked;
    let said = Arc::new(sink::OutputSink::default());
    let work = async {
        let refused = |problem: ExitProblem| {
            output::problem(&problem);
            problem.exit
        };
        if begun {
            return refused(unknown());
        }
        let read = serde_json::from_slice::<CommandAsked>(request.expose());
        let Ok(command) = read else {
            return refused(unreadable());
        };
        let cli = daemon::command_line(&command.request.args);
        let Some(mut cli) = cli.filter(|cli| front::is_asked(&cli.command)) else {
            return refused(unreadable());
        };
        if again {
            ignore_what_is_gone(&mut cli.command);
        }
        let (actor, given) = (
            command.actor.clone(),
            daemon::given(command.request.clone()),
        );
        let work = async {
            match command.part.clone() {
                CommandPart::Own => Box::pin(runner::run_to_end(cli)).await,
                CommandPart::Named(names) => {
                    front::leave(&mut cli.command, names);
                    Box::pin(runner::run_to_end(cli)).await
                }
                CommandPart::HandedOver(chosen) => {
                    Box::pin(own::with_chosen(chosen, runner::run_to_end(cli))).await
                }
                CommandPart::Decide => {
                    let decided = choose::decide(holder, &id, &command, &cli).await;
                    decided.inspect_err(output::problem)
                }
                CommandPart::Report(_)
                | CommandPart::ReportMembers(_)
                | CommandPart::AskGuests(_)
                | CommandPart::DecideMembers(_)
                | CommandPart::MembersHandedOver(_) => Ok(refused(unreadable())),
            }
        };
        let work = work::with_files(given, Box::pin(work));
        let work = actor::for_caller(actor, work);
        let done = Box::pin(holder.app.for_others().lend(work)).await;
        done.unwrap_or_else(|problem| problem.exit)
    };
    let exit = Box::pin(sink::with(said.clone(), work)).await;
    CommandAnswer::new(exit, said.take())
}

/// What was begun before may be done.
fn ignore_what_is_gone(command: &mut CliCommand) {
    match command {
        CliCommand::Delete(args) => args.ignore_not_found = true,
        CliCommand::Snapshot(SnapshotCommand::Delete(args)) => args.ignore_not_found = true,
        _ => {}
    }
}

fn unknown() -> ExitProblem {
    let message = "the process that began it ended, and whether it was done is not known";
    let remedy = "see `vsiflow history NAME`, then ask again if it is still to be done";
    ExitProblem::new(Exit::Failed, "VSI0767", message, remedy)
}

pub(super) fn unreadable() -> ExitProblem {
    let message = "what was asked cannot be read by the process that holds the journal";
    let remedy = "use one release of vsiflow everywhere";
    ExitProblem::new(Exit::Failed, "VSI0766", message, remedy)
}
