//! `console`: opens a guest's serial console through the subresource API.

use hyper_util::rt::TokioIo;
use vsiflow_api::wire;

use super::{
    access::{ClusterAccess, problem},
    args::PluginConsoleArgs,
};
use crate::{
    command::console,
    exit::{CommandOutcome, Exit, ExitProblem},
    terminal,
};

pub(super) async fn run(there: &ClusterAccess<'_>, args: PluginConsoleArgs) -> CommandOutcome {
    terminal::check(args.stdin)?;
    let answer = there.cluster.console(&args.name, args.force).await;
    let answer = answer.map_err(problem)?;
    let stream = hyper::upgrade::on(answer).await.map_err(|error| {
        let message = format!("the connection to the API server does not change over: {error}");
        let remedy = "see that no proxy in between keeps connections from changing over";
        ExitProblem::new(Exit::Failed, "VSI1020", message, remedy)
    })?;
    let carry = async |keys, output| {
        wire::both_ways(TokioIo::new(stream), output, keys).await;
        Ok(())
    };
    console::attach_terminal(&args.name, carry).await
}
