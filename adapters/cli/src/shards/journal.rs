//! One journal of a set, while this process has its lease: the engine on it, and what is asked of it.

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;
use vsiflow_engine::secret::Secret;
use vsiflow_postgres::{Held, seal::Sealer, shards::requests::Asked};

use super::{
    Membership,
    ask::{CommandAnswer, CommandAsked},
    front,
};
use crate::{
    actor,
    args::{CliCommand, Common, ServeArgs},
    command::{self, CommandOutcome, give_way, look_on, not_panicking, tell, told_of_images},
    compose::{App, Right, bounds::ReadBounds, elsewhere},
    daemon,
    exit::{Exit, ExitProblem},
    metrics::{self, Metrics},
    output::{self, sink},
    work,
};

/// How often it is looked for requests.
const POLL: Duration = Duration::from_millis(200);
/// Requests that are carried out at the same time.
const AT_ONCE: usize = 32;

/// What the service of each journal needs.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) args: Arc<ServeArgs>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) sealer: Sealer,
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
    let bounds = ReadBounds::default();
    let app = App::open_to_serve(common, right, service.metrics.clone(), bounds).await?;
    let Some(held) = held else {
        return Err(ExitProblem::defect("a journal is served without its right"));
    };
    let settled = shard.set().settle_all_names(shard.number).await;
    settled.map_err(elsewhere::problem)?;
    output::note(&format!("serving journal {}", shard.number));
    let counted = metrics::follow(service.metrics.clone(), app.fleet.notices());
    let every = service.args.prune_images_every;
    let outcome = tokio::select! {
        () = stop.cancelled() => Ok(Exit::Done),
        ended = tell(&app, common) => ended,
        ended = drive(&app, &service.args) => ended,
        never = app.fleet.images().keep_policies(every, told_of_images) => match never {},
        never = app.fleet.images().keep_upload_progress() => match never {},
        ended = answer(service, &app, shard, &held) => ended,
        () = async { counted.await; std::future::pending::<()>().await } => Ok(Exit::Done),
    };
    app.close().await;
    outcome
}

async fn drive(app: &App, args: &ServeArgs) -> CommandOutcome {
    app.fleet.drive_all().await?;
    look_on(app, args.look_every).await
}

/// Carries out what is asked of this journal, several at a time. What is under way when this ends is
/// begun anew by the next holder, or answered as begun.
async fn answer(
    service: &Service,
    app: &App,
    shard: &Membership,
    held: &Arc<Held>,
) -> CommandOutcome {
    let mut under_way = JoinSet::new();
    loop {
        while under_way.try_join_next().is_some() {}
        if under_way.len() >= AT_ONCE {
            under_way.join_next().await;
            continue;
        }
        let begun = shard.set().begin(&service.sealer, held, shard.number).await;
        match begun {
            Ok(Some(asked)) => {
                let (app, set) = (app.clone(), shard.set().clone());
                let (sealer, held) = (service.sealer.clone(), held.clone());
                under_way.spawn(async move {
                    let id = asked.id.clone();
                    let answer = Box::pin(carry_out(&app, asked)).await;
                    let text = Secret::new(serde_json::to_vec(&answer).unwrap_or_default());
                    // Until it is stored: who asked waits for it, and the lease bounds it.
                    while let Err(error) = set.answer(&sealer, &held, &id, &text).await {
                        tracing::warn!(%error, "an answer is not stored yet");
                        sleep(POLL).await;
                    }
                });
            }
            Ok(None) => sleep(POLL).await,
            Err(error) => {
                tracing::warn!(%error, journal = shard.number, "requests are not read");
                sleep(POLL).await;
            }
        }
    }
}

/// Does a command with what this process has open, as the socket's callers have it done.
async fn carry_out(app: &App, asked: Asked) -> CommandAnswer {
    let Asked {
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
        let Ok(CommandAsked { request, actor }) = read else {
            return refused(unreadable());
        };
        let cli = daemon::command_line(&request.args);
        let Some(mut cli) = cli.filter(|cli| front::is_asked(&cli.command)) else {
            return refused(unreadable());
        };
        if let (true, CliCommand::Delete(args)) = (again, &mut cli.command) {
            // What was begun before may be done.
            args.ignore_not_found = true;
        }
        let work = work::with_files(daemon::given(request), command::run_to_end(cli));
        let work = actor::for_caller(actor, work);
        let done = Box::pin(app.for_others().lend(work)).await;
        done.unwrap_or_else(|problem| problem.exit)
    };
    let exit = Box::pin(sink::with(said.clone(), work)).await;
    CommandAnswer::new(exit, said.take())
}

fn unknown() -> ExitProblem {
    let message = "the process that began it ended, and whether it was done is not known";
    let remedy = "see `vsiflow history NAME`, then ask again if it is still to be done";
    ExitProblem::new(Exit::Failed, "VSI0767", message, remedy)
}

fn unreadable() -> ExitProblem {
    let message = "what was asked cannot be read by the process that holds the journal";
    let remedy = "use one release of vsiflow everywhere";
    ExitProblem::new(Exit::Failed, "VSI0766", message, remedy)
}
