//! `start`, `stop`, `restart`, `pause`, `unpause`: change the power state of VSIs.

use vsiflow_workflows::{fleet::ShutdownPolicy, record::PowerAction};

use crate::{
    actor,
    args::{Common, PauseArgs, PowerArgs, StopArgs, Targets, WaitArgs},
    compose::App,
    exit::{CommandOutcome, Exit, ExitProblem},
    output, work,
};

pub(super) async fn up(common: &Common, action: PowerAction, args: PowerArgs) -> CommandOutcome {
    let how = ShutdownPolicy::default();
    run(common, action, &args.targets, how, &args.wait).await
}

pub(super) async fn pause(common: &Common, action: PowerAction, args: PauseArgs) -> CommandOutcome {
    if args.all {
        return set_global_pause(common, action == PowerAction::Pause).await;
    }
    let targets = Targets {
        names: args.names,
        selection: args.selection,
        all: false,
        namespace: args.namespace,
    };
    let how = ShutdownPolicy::default();
    run(common, action, &targets, how, &args.wait).await
}

/// Sets or ends the global pause.
async fn set_global_pause(common: &Common, on: bool) -> CommandOutcome {
    let app = App::open_to_work(common).await?;
    app.fleet
        .set_global_pause(on, actor::by(&common.reason))
        .await?;
    output::line(if on {
        "the global pause is on; `vsiflow unpause --all` ends it"
    } else {
        "the global pause is off"
    });
    app.close().await;
    Ok(Exit::Done)
}

pub(super) async fn down(common: &Common, action: PowerAction, args: StopArgs) -> CommandOutcome {
    let how = args.grace.gracefully();
    run(common, action, &args.targets, how, &args.wait()).await
}

async fn run(
    common: &Common,
    action: PowerAction,
    targets: &Targets,
    how: ShutdownPolicy,
    wait: &WaitArgs,
) -> CommandOutcome {
    let app = App::open_to_work(common).await?;
    // All names are looked up first, so that a typing error changes nothing.
    let targets = work::chosen(&app, targets).await?;
    let (mut recorded, mut refused) = (Vec::new(), Vec::new());
    for target in targets {
        let by = actor::by(&common.reason);
        let (namespace, name) = (&target.namespace, &target.name);
        let done = app
            .fleet
            .vsis()
            .power(namespace, name, action, how, by)
            .await;
        match done.map_err(ExitProblem::from) {
            Ok(_) => recorded.push(target),
            // A VSI that cannot do it does not stop the others.
            Err(problem) if problem.exit == Exit::Blocked => refused.push(problem),
            Err(problem) => return Err(problem),
        }
    }
    // The caller prints the last problem.
    let last = refused.pop();
    refused.iter().for_each(output::problem);
    let seen = if recorded.is_empty() && last.is_some() {
        app.close().await;
        Ok(Exit::Done)
    } else {
        work::report_recorded(&app, wait, &recorded, past_tense(action));
        work::see_through(app, common, wait, &recorded).await
    };
    match last {
        Some(problem) => seen.and(Err(problem)),
        None => seen,
    }
}

/// The recorded action, for messages when the command does not wait.
pub(crate) fn past_tense(action: PowerAction) -> &'static str {
    match action {
        PowerAction::Start | PowerAction::Unpause => "is to run",
        PowerAction::Stop => "is to be off",
        PowerAction::Pause => "will be suspended",
        PowerAction::Restart => "will be restarted",
    }
}
