//! `approve`: approves changes that wait for a person's consent.

use vsiflow_api::{Act, ActRequest};

use super::acting::{self, Action, ActionReport};
use crate::{
    args::{ApproveArgs, Common},
    exit::CommandOutcome,
    work::SelectedObjects,
};

pub(super) async fn run(common: &Common, args: ApproveArgs) -> CommandOutcome {
    let targets = &args.targets;
    let action = Action {
        request: ActRequest {
            names: targets.names.clone(),
            proposal: args.proposal,
            ..ActRequest::new(Act::Approve, &targets.namespace, &common.reason)
        },
        selection: SelectedObjects::of(targets),
        follow_up: &ActionReport {
            wait: args.wait,
            recorded: "is approved".into(),
            done: "",
        },
    };
    acting::carry_out(common, &action).await
}
