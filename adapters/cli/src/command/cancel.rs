//! `cancel`: stops the runs of VSIs and data disks, and takes back the deletions of pools and groups; existing objects
//! remain.

use async_trait::async_trait;
use vsiflow_api::{Act, ActEffect, ActRequest};
use vsiflow_workflows::kinds::ObjectKind;

use super::acting::{self, Acted, ActedTarget, Action, FollowUp, Turn};
use crate::{
    args::{CancelArgs, Common, names_of},
    exit::{CommandOutcome, Exit},
    output,
    service::ServiceSession,
    work::SelectedObjects,
};

pub(super) async fn run(common: &Common, args: CancelArgs) -> CommandOutcome {
    let targets = &args.targets;
    let action = Action {
        request: ActRequest {
            names: names_of(&targets.names),
            ..ActRequest::new(Act::Cancel, &targets.namespace, &common.reason)
        },
        selection: SelectedObjects::of(targets),
        follow_up: &Cancellations,
    };
    acting::carry_out(common, &action).await
}

/// Says what was cancelled, once the step in progress has ended.
struct Cancellations;

#[async_trait]
impl FollowUp for Cancellations {
    async fn follow(
        &self,
        _common: &Common,
        session: &ServiceSession,
        acted: &Acted,
        turn: Turn,
    ) -> CommandOutcome {
        let mut exit = Exit::Done;
        if turn == Turn::First {
            for one in &acted.targets {
                exit = exit.max(say_at_once(one));
            }
        }
        let begun = |one: &&ActedTarget| one.object.effect == ActEffect::Recorded;
        for one in acted.targets.iter().filter(begun) {
            acting::decided(session, &[one]).await?;
            let (shown, word) = (one.target.shown(), one.target.word());
            output::line(&format!(
                "{shown} cancelled; run `vsiflow retry {word}` to continue"
            ));
        }
        Ok(exit)
    }
}

/// Says what was done without a run, and returns the command's exit for it.
fn say_at_once(ActedTarget { target, object }: &ActedTarget) -> Exit {
    let makes_members = matches!(object.kind, ObjectKind::Pool | ObjectKind::Group);
    let what = match object.effect {
        ActEffect::DeletionTakenBack => {
            "its deletion is taken back; members of which something is deleted already are made again"
        }
        ActEffect::NothingToDo if makes_members => {
            "it is not being deleted; the runs of its members are cancelled by their names"
        }
        ActEffect::NothingToDo => "no run is open",
        ActEffect::NothingTakenBack => {
            "no run is open, and no order that could be taken back; what needs no order is still done"
        }
        ActEffect::OrdersVoided => {
            "no run is open; what was ordered to be deleted, made anew or restored is not done any more"
        }
        _ => return Exit::Done,
    };
    output::line(&format!("{}: {what}", target.shown()));
    match object.effect {
        ActEffect::NothingTakenBack => Exit::Blocked,
        _ => Exit::Done,
    }
}
