//! `rebuild`: replaces the boot disks of VSIs with new ones.

use async_trait::async_trait;
use vsiflow_api::{RebuildRequest, RebuildTarget};

use super::acting::{self, Acted, Action, ActionReport, FollowUp, Turn};
use crate::{
    args::{Common, RebuildArgs},
    exit::CommandOutcome,
    output,
    service::ServiceSession,
    work::{Destruction, SelectedObjects},
};

pub(super) async fn run(common: &Common, args: RebuildArgs) -> CommandOutcome {
    let targets = &args.targets;
    let vsis = targets.names.iter().map(|name| RebuildTarget {
        name: name.clone(),
        uid: None,
    });
    let selection = SelectedObjects::of(targets).map(|selected| SelectedObjects {
        destroys: Some(Destruction {
            verb: "rebuild",
            args: &args.destroy,
        }),
        ..selected
    });
    let action = Action {
        request: RebuildRequest {
            namespace: targets.namespace.clone(),
            vsis: vsis.collect(),
            in_place: args.in_place,
            reason: common.reason.clone(),
        },
        selection,
        follow_up: &Rebuilds(ActionReport {
            wait: args.wait,
            recorded: "is to be rebuilt".into(),
            done: "",
        }),
    };
    acting::carry_out(common, &action).await
}

/// Says what is lost and what stays, then waits.
struct Rebuilds(ActionReport);

#[async_trait]
impl FollowUp for Rebuilds {
    async fn follow(
        &self,
        common: &Common,
        session: &ServiceSession,
        acted: &Acted,
        turn: Turn,
    ) -> CommandOutcome {
        if turn == Turn::First {
            for rebuilt in &acted.targets {
                let (shown, plan) = (rebuilt.target.shown(), rebuilt.object.plan.iter());
                for lost in plan.clone().flat_map(|plan| &plan.destroys) {
                    output::line(&format!("{shown}: destroys {}", lost.object));
                }
                for kept in plan.flat_map(|plan| &plan.keeps) {
                    output::line(&format!("{shown}: keeps {kept}"));
                }
            }
        }
        self.0.follow(common, session, acted, turn).await
    }
}
