//! `adopt`: brings existing domains under management without touching their guests.

use vsiflow_workflows::fleet::{Adopting, Adoption};

use super::host;
use crate::{
    actor,
    args::{AdoptArgs, Common, HostArgs},
    compose::App,
    exit::{CommandOutcome, Exit, ExitProblem},
    output,
    shards::adopting,
    work,
};

pub(super) async fn run(common: &Common, args: AdoptArgs) -> CommandOutcome {
    if args.name.is_some() && args.domains.len() > 1 {
        let message = "several domains cannot have one name";
        let remedy = "adopt them one after another, each with its --as";
        return Err(ExitProblem::new(Exit::Usage, "VSI0707", message, remedy));
    }
    let app = App::open_to_work(common).await?;
    let at = HostArgs {
        name: args.on.clone(),
        files: args.files.clone(),
    };
    let settings = host::one(&app, common, &at).await?;
    let (mut entities, mut managed) = (Vec::new(), Vec::new());
    for domain in &args.domains {
        let what = Adopting {
            host: settings.clone(),
            domain: domain.clone(),
            namespace: args.namespace.clone(),
            name: args.name.clone(),
            force: args.force,
        };
        let by = actor::by(&common.reason);
        match adopting::adopt(&app, common, what, by).await? {
            Adoption::Begun(entity) => entities.push(entity),
            Adoption::Managed(entity) => managed.push(entity),
        }
    }
    for target in work::targets_of(&app, &managed).await? {
        let uid = target.entity.id();
        output::line(&format!(
            "domain {uid} is managed already, as {}",
            target.shown()
        ));
    }
    let targets = work::targets_of(&app, &entities).await?;
    work::report_recorded(&app, &args.wait, &targets, "will be adopted");
    let (until, done) = (work::Until::Decided, "is adopted without changes");
    let exit = work::until_decided(&app, common, &args.wait, &targets, until, done).await?;
    app.close().await;
    Ok(exit)
}
