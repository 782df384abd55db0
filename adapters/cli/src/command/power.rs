//! `start`, `stop`, `restart`, `pause`, `unpause`: change the power state of VSIs.

use vsiflow_api::{Act, ActRequest};
use vsiflow_workflows::{fleet::ShutdownPolicy, record::PowerAction};

use super::acting::{self, Action, ActionReport};
use crate::{
    args::{Common, PauseArgs, PowerArgs, StopArgs, Targets, WaitArgs},
    exit::CommandOutcome,
    output,
    work::SelectedObjects,
};

pub(super) async fn up(common: &Common, action: PowerAction, args: PowerArgs) -> CommandOutcome {
    let how = ShutdownPolicy::default();
    run(common, action, &args.targets, how, args.wait).await
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
    run(common, action, &targets, how, args.wait).await
}

/// Sets or ends the global pause.
async fn set_global_pause(common: &Common, on: bool) -> CommandOutcome {
    let (act, shown) = if on {
        let shown = "the global pause is on; `vsiflow unpause --all` ends it";
        (Act::PauseAll, shown)
    } else {
        (Act::UnpauseAll, "the global pause is off")
    };
    let action = Action {
        request: ActRequest::new(act, "", &common.reason),
        selection: None,
        follow_up: &ActionReport {
            wait: WaitArgs::default(),
            recorded: "".into(),
            done: "",
        },
    };
    let done = acting::carry_out(common, &action).await;
    done.inspect(|_| output::line(shown))
}

pub(super) async fn down(common: &Common, action: PowerAction, args: StopArgs) -> CommandOutcome {
    let how = args.grace.gracefully();
    run(common, action, &args.targets, how, args.wait()).await
}

async fn run(
    common: &Common,
    action: PowerAction,
    targets: &Targets,
    how: ShutdownPolicy,
    wait: WaitArgs,
) -> CommandOutcome {
    let action = Action {
        request: ActRequest {
            names: targets.names.clone(),
            grace_period_seconds: how.timeout_s,
            force: how.force,
            ..ActRequest::new(action.into(), &targets.namespace, &common.reason)
        },
        selection: SelectedObjects::of(targets),
        follow_up: &ActionReport {
            wait,
            recorded: past_tense(action).into(),
            done: "",
        },
    };
    acting::carry_out(common, &action).await
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
