//! `retry`: immediately retries what is blocked, delayed or failed.

use vsiflow_engine::executor::Retried;

use crate::{
    actor,
    args::{Common, RetryArgs},
    compose::App,
    exit::{CommandOutcome, Exit, ExitProblem},
    output, work,
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
    let app = App::open_to_record(common).await?;
    let targets = if selects {
        work::selected(&app, &args.namespace, &args.selection).await?
    } else if args.names.is_empty() {
        let host = on_host.map(|host| host.trim_end_matches(':').to_owned());
        let open = app.fleet.unsettled(host.as_deref()).await?;
        work::targets_of(&app, &open).await?
    } else {
        work::targets_named(&app, &args.namespace, &args.names).await?
    };
    let mut begun = Vec::new();
    for target in &targets {
        let by = actor::by(&common.reason);
        match app.fleet.retry(target.entity.clone(), by).await? {
            Retried::NothingToDo => {
                output::line(&format!("{}: nothing to retry", target.shown()));
            }
            _ => begun.push(target.clone()),
        }
    }
    work::report_recorded(&app, &args.wait, &begun, "is tried again");
    let exit = work::until_decided(
        &app,
        common,
        &args.wait,
        &targets,
        work::Until::Decided,
        "is settled",
    )
    .await?;
    app.close().await;
    Ok(exit)
}
