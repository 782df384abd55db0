//! `scale`, `cordon`, `uncordon` and `output`: pools, groups and their members.

use async_trait::async_trait;
use vsiflow_api::{CordonMembersRequest, ScaleRequest};

use super::acting::{self, Acted, Action, ActionReport, FollowUp, Turn};
use crate::{
    args::{Common, CordonArgs, ObjectKind, OutputArgs, ScaleArgs},
    compose::App,
    exit::{CommandOutcome, Exit},
    output,
    service::ServiceSession,
};

pub(super) async fn scale(common: &Common, args: ScaleArgs) -> CommandOutcome {
    let (kind, outcome) = match &args.of_group {
        Some(pool) => (
            ObjectKind::Group,
            format!("is to have {} members in pool {pool}", args.replicas),
        ),
        None if args.pool.is_group() => (ObjectKind::Group, String::new()),
        None => (
            ObjectKind::Pool,
            format!("is to have {} members", args.replicas),
        ),
    };
    let action = Action {
        request: ScaleRequest {
            namespace: args.pool.namespace.clone(),
            name: format!("{}/{}", kind.word(), args.pool.name()),
            pool: args.of_group,
            replicas: args.replicas,
            reason: common.reason.clone(),
        },
        selection: None,
        follow_up: &ActionReport {
            wait: args.wait,
            recorded: outcome.into(),
            done: "",
        },
    };
    acting::carry_out(common, &action).await
}

/// Prints the outputs of a group.
pub(super) async fn output(common: &Common, args: OutputArgs) -> CommandOutcome {
    let app = App::open(common).await?;
    let (namespace, name) = (&args.namespace, args.name());
    match &args.key {
        Some(key) => {
            let found = app.fleet.groups().output(namespace, &name, key).await?;
            output::raw(found.expose())?;
            if !found.expose().ends_with(b"\n") {
                output::raw(b"\n")?;
            }
        }
        None => {
            let group = app.fleet.groups().get(namespace, &name).await?;
            for one in group.status.outputs {
                output::line(&one.name);
            }
        }
    }
    app.close().await;
    Ok(Exit::Done)
}

/// Has pools leave members out, or not any more.
pub(super) async fn cordon(common: &Common, args: CordonArgs, on: bool) -> CommandOutcome {
    let action = Action {
        request: CordonMembersRequest {
            namespace: args.namespace,
            names: args.names,
            on,
            reason: common.reason.clone(),
        },
        selection: None,
        follow_up: &CordonedMembers {
            on,
            report: ActionReport {
                wait: args.wait,
                ..ActionReport::default()
            },
        },
    };
    acting::carry_out(common, &action).await
}

/// Says which members are left out, then waits for their pools.
struct CordonedMembers {
    on: bool,
    report: ActionReport,
}

#[async_trait]
impl FollowUp for CordonedMembers {
    async fn follow(
        &self,
        common: &Common,
        session: &ServiceSession,
        acted: &Acted,
        turn: Turn,
    ) -> CommandOutcome {
        if turn == Turn::First {
            for pool in &acted.targets {
                for member in &pool.object.members {
                    output::line(&if self.on {
                        let shown = pool.target.shown();
                        format!("vsi/{member} is cordoned: {shown} leaves it out")
                    } else {
                        format!("vsi/{member} is uncordoned")
                    });
                }
            }
        }
        if acted.is_left_to_others(&self.report.wait) {
            return Ok(Exit::Done);
        }
        self.report.follow(common, session, acted, turn).await
    }
}
