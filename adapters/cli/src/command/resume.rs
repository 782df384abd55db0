//! `resume`: resumes unfinished work after a crash or an interrupt.

use crate::{
    actor,
    args::{Common, ResumeArgs},
    compose::App,
    exit::{CommandOutcome, Exit, ExitProblem},
    output,
    work::{self, Target},
};

/// The prefix of an image's name.
const IMAGE: &str = "image/";

/// The named objects, or everything unfinished: data disks, pools, groups, VSIs, and images that are uploaded
/// or removed.
async fn targets(app: &App, args: &ResumeArgs) -> Result<Vec<Target>, ExitProblem> {
    let (mut vsis, mut images) = (Vec::new(), Vec::new());
    if args.names.is_empty() {
        let disks = app.fleet.disks().interrupted().await?.into_iter();
        vsis.extend(disks.map(|(entity, namespace, name)| Target {
            entity,
            namespace,
            name,
        }));
        let networks = app.fleet.networks().interrupted().await?.into_iter();
        vsis.extend(networks.map(|(entity, namespace, name)| Target {
            entity,
            namespace,
            name,
        }));
        let snapshots = app.fleet.snapshots().interrupted().await?.into_iter();
        vsis.extend(snapshots.map(|(entity, namespace, name)| Target {
            entity,
            namespace,
            name,
        }));
        let pools = Box::pin(app.fleet.pools().interrupted()).await?.into_iter();
        vsis.extend(pools.map(|(entity, namespace, name)| Target {
            entity,
            namespace,
            name,
        }));
        let groups = Box::pin(app.fleet.groups().interrupted())
            .await?
            .into_iter();
        vsis.extend(groups.map(|(entity, namespace, name)| Target {
            entity,
            namespace,
            name,
        }));
        images = app.fleet.images().interrupted().await?;
        let open = app.fleet.interrupted().await?;
        vsis.extend(work::targets_of(app, &open).await?);
    }
    for name in &args.names {
        match name.strip_prefix(IMAGE) {
            Some(name) => images.extend(app.fleet.images().interrupted_of(name).await?),
            None => {
                let names = std::slice::from_ref(name);
                vsis.extend(work::targets_named(app, &args.namespace, names).await?);
            }
        }
    }
    let images = images.into_iter().map(|(id, name)| Target::image(id, name));
    Ok(vsis.into_iter().chain(images).collect())
}

pub(super) async fn run(common: &Common, args: ResumeArgs) -> CommandOutcome {
    let app = App::open_to_work(common).await?;
    if args.watch {
        return super::scan::watch(&app, common, args.every).await;
    }
    let targets = targets(&app, &args).await?;
    if targets.is_empty() {
        output::line("nothing to resume");
        app.close().await;
        return Ok(Exit::Done);
    }
    let entities = targets.iter().map(|target| target.entity.clone()).collect();
    app.fleet
        .resume(entities, actor::by(&common.reason))
        .await?;
    let exit = work::until_decided(
        &app,
        common,
        &args.wait,
        &targets,
        work::Until::Over,
        "is settled",
    )
    .await?;
    app.close().await;
    Ok(exit)
}
