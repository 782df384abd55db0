//! `retry`: immediately retries what is blocked, delayed or failed.

use vsiflow_api::{Act, ActRequest};

use super::acting::{self, Action, ActionReport};
use crate::{
    args::{Common, ObjectKind, RetryArgs},
    exit::{CommandOutcome, Exit, ExitProblem},
    work::SelectedObjects,
};

pub(super) async fn run(common: &Common, args: RetryArgs) -> CommandOutcome {
    let selects = !args.selection.is_empty();
    let on_host = common.host.as_deref().filter(|_| args.names.is_empty());
    if args.names.is_empty() && !args.all && !selects && on_host.is_none() {
        let message = "name the VSIs to retry, or use -l, --all or --host HOST";
        return Err(ExitProblem::new(
            Exit::Usage,
            "VSI0801",
            message,
            "see `vsiflow retry --help`",
        ));
    }
    let host = on_host.map(|host| host.trim_end_matches(':').to_owned());
    let unsettled = !selects && args.names.is_empty();
    let action = Action {
        request: ActRequest {
            names: args.names,
            unsettled,
            host: host.filter(|_| unsettled),
            ..ActRequest::new(Act::Retry, &args.namespace, &common.reason)
        },
        selection: selects.then_some(SelectedObjects {
            kind: ObjectKind::Vsi,
            namespace: &args.namespace,
            selection: &args.selection,
            destroys: None,
        }),
        follow_up: &ActionReport {
            wait: args.wait,
            recorded: "is tried again".into(),
            done: "is settled",
        },
    };
    acting::carry_out(common, &action).await
}
