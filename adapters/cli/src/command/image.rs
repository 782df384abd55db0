//! `image`: uploads base images ahead of time, and removes them.

use std::{collections::BTreeSet, path::Path, time::Duration};

use vsiflow_api::TableRequest;
use vsiflow_engine::model::EntityId;
use vsiflow_workflows::{
    fleet::{ImageObject, Verdict},
    kinds::TableQuery,
    provision_vsi::SIMULATED,
    record::ImageRecord,
    spec::{Checksum, HostSettings, ImageUrl},
};

use crate::{
    actor,
    args::{
        Common, ImageCommand, ImageListArgs, ImagePruneArgs, ImageUnlockArgs, ImageUploadArgs,
        ObjectKind, OutputFormat,
    },
    compose::App,
    daemon::DaemonServer,
    exit::{CommandOutcome, Exit, ExitProblem},
    output::{self, live::LiveOutput, table},
    service,
    work::{self, Target},
};

pub(super) async fn run(common: &Common, command: ImageCommand) -> CommandOutcome {
    match command {
        ImageCommand::List(args) => list(common, args).await,
        ImageCommand::Upload(args) => upload(common, args).await,
        ImageCommand::Prune(args) => prune(common, args).await,
        ImageCommand::Unlock(args) => unlock(common, args).await,
    }
}

async fn list(common: &Common, args: ImageListArgs) -> CommandOutcome {
    let format = args.output;
    let query = TableQuery {
        wide: format == Some(OutputFormat::Wide),
        objects: matches!(format, Some(OutputFormat::Json | OutputFormat::Yaml)),
        ..TableQuery::default()
    };
    let request = TableRequest::now(ObjectKind::Image, query);
    let images = service::call(common, request).await?.table;
    match format {
        None | Some(OutputFormat::Wide) => {
            let form = table::TableForm::wide(format.is_some());
            let shown = table::objects(&images.columns, &images.rows, form);
            output::table(&shown, "images");
        }
        Some(OutputFormat::Name) => images
            .rows
            .iter()
            .for_each(|image| output::name(&format!("image/{}", image.name))),
        Some(format) => {
            output::print(&output::list(&images.into_objects()), format)?;
        }
    }
    Ok(Exit::Done)
}

async fn upload(common: &Common, args: ImageUploadArgs) -> CommandOutcome {
    if args.images.len() > 1 && args.checksum.is_some() {
        let why = "it can be of one image only";
        return Err(wrong("--checksum", &why));
    }
    let named = match args.hosts {
        Some(_) => None,
        None => Some(work::one_host(common, &args.at.files).await?),
    };
    let app = App::open_to_record(common).await?;
    let mut begun = Vec::new();
    for mut host in hosts(&app, &args, named).await? {
        work::limit_uploads(&args.upload, &mut host);
        for image in &args.images {
            let image = desired_record(&host, image, &args)?;
            let by = actor::by(&common.reason);
            let entity = app.fleet.images().upload(host.clone(), &image, by).await?;
            begun.push((entity, image));
        }
    }
    let hosts: BTreeSet<_> = begun.iter().map(|(_, image)| image.host.clone()).collect();
    let followed = begun.iter();
    let followed = followed.map(|(entity, image)| (entity.clone(), label(image, hosts.len())));
    let followed: Vec<_> = followed.collect();
    let ends = decided(&app, common, &followed, args.timeout).await?;
    let mut exit = Exit::Done;
    for ((entity, image), one) in begun.into_iter().zip(ends) {
        if one == Exit::Done {
            report_complete(&app, &entity, &image).await?;
        }
        exit = exit.max(one);
    }
    app.close().await;
    Ok(exit)
}

/// The name of an upload in messages; with several hosts, also the host.
fn label(image: &ImageRecord, hosts: usize) -> String {
    let ImageRecord {
        file_name, host, ..
    } = image;
    match hosts {
        0 | 1 => file_name.clone(),
        _ => format!("{file_name} on {host}"),
    }
}

/// The named host, or the selected ones.
async fn hosts(
    app: &App,
    args: &ImageUploadArgs,
    named: Option<HostSettings>,
) -> Result<Vec<HostSettings>, ExitProblem> {
    let Some(labels) = &args.hosts else {
        return Ok(named.into_iter().collect());
    };
    let mut hosts = Vec::new();
    for known in app.fleet.hosts().list().await? {
        if labels.matches(&known.labels) {
            hosts.push(app.fleet.hosts().settings(&known.name)?);
        }
    }
    if !hosts.is_empty() {
        Ok(hosts)
    } else {
        let message = format!("no host is known with the labels {labels}");
        let remedy = "`vsiflow get host` lists the labels";
        Err(ExitProblem::new(Exit::NotFound, "VSI0703", message, remedy))
    }
}

async fn report_complete(
    app: &App,
    entity: &EntityId,
    image: &ImageRecord,
) -> Result<(), ExitProblem> {
    let images = app.fleet.images().list().await?;
    let ready = |found: &&ImageObject| found.uid == entity.id() && found.phase == "Ready";
    let found = images.iter().find(ready);
    let whole = found.and_then(|found| found.volume.as_ref().zip(found.sha256.as_ref()));
    if let Some((volume, sha256)) = whole {
        let ImageRecord { host, pool, .. } = image;
        output::line(&format!(
            "image/{volume} is whole on {host} in pool {pool} (sha256:{sha256})"
        ));
    }
    Ok(())
}

async fn prune(common: &Common, args: ImagePruneArgs) -> CommandOutcome {
    let app = App::open_to_record(common).await?;
    let mut exit = Exit::Done;
    for image in app.fleet.images().unneeded(args.keep_last).await? {
        let name = &image.name;
        let place = format!("image/{name} on {} in pool {}", image.host, image.pool);
        if args.dry_run {
            exit = exit.max(foresee_removal(&app, &image, &place).await?);
            continue;
        }
        let by = actor::by(&common.reason);
        if image.volume.is_none() {
            app.fleet.images().give_up(&image, by).await?;
            output::line(&format!("{place} abandoned"));
            continue;
        }
        let entity = app.fleet.images().remove(&image, by.clone()).await?;
        let named = [(entity.clone(), image.name.clone())];
        let ends = decided(&app, common, &named, None).await?;
        let one = ends.into_iter().max().unwrap_or(Exit::Done);
        match one {
            Exit::Done => output::line(&format!("{place} removed")),
            // What is in the way may remain for long, so the removal is cancelled instead of awaited.
            _ => app.fleet.cancel(entity, by).await.map(drop)?,
        }
        exit = exit.max(one);
    }
    app.close().await;
    Ok(exit)
}

/// Prints what a removal of the image would do, and returns its exit.
async fn foresee_removal(app: &App, image: &ImageObject, place: &str) -> Result<Exit, ExitProblem> {
    if image.volume.is_none() {
        output::line(&format!("{place} would be abandoned (dry run)"));
        return Ok(Exit::Done);
    }
    let refusal = app.fleet.images().removal_refusal(image).await?;
    Ok(output::foreseen(place, "removed (dry run)", refusal))
}

async fn unlock(common: &Common, args: ImageUnlockArgs) -> CommandOutcome {
    let host = work::one_host(common, &args.at.files).await?;
    let app = App::open_to_record(common).await?;
    let by = actor::by(&common.reason);
    let (pool, name) = (&args.at.pool, &args.name);
    let unlocked = app.fleet.images().unlock(host, pool, name, by).await?;
    output::line(&if unlocked {
        format!("image/{name} unlocked; the uploaded part remains until you delete it")
    } else {
        format!("image/{name} is not being brought by anybody")
    });
    app.close().await;
    Ok(Exit::Done)
}

/// Follows the runs of images, shown by these names, until their outcomes are decided; returns the exit of
/// each.
async fn decided(
    app: &App,
    common: &Common,
    images: &[(EntityId, String)],
    timeout: Option<Duration>,
) -> Result<Vec<Exit>, ExitProblem> {
    let answers = DaemonServer::start(app);
    let targets = images.iter();
    let targets = targets.map(|(entity, name)| Target::image(entity.clone(), name.clone()));
    let targets: Vec<_> = targets.collect();
    let mut live = LiveOutput::new(common.quiet);
    let ended = tokio::select! {
        ended = work::watch(app, &targets, work::Until::Decided, &mut live) => ended.map(|()| Exit::Interrupted),
        () = work::elapsed(timeout) => Ok(Exit::TimedOut),
        () = work::interrupted() => Ok(Exit::Interrupted),
    };
    live.finish();
    let early = ended?;
    if let Some(answers) = answers {
        answers.finish().await;
    }
    let ends = images.iter().map(|image| print_outcome(app, image, early));
    Ok(ends.collect())
}

/// Prints the outcome of an image and returns its exit; `early` if it was not decided.
fn print_outcome(app: &App, (entity, name): &(EntityId, String), early: Exit) -> Exit {
    let Some(verdict) = app.fleet.verdict(entity) else {
        let why = match early {
            Exit::TimedOut => "not decided in time",
            _ => "interrupted",
        };
        output::note(&format!(
            "image/{name}: {why}; run the same command to resume"
        ));
        if let Some(failure) = app.fleet.obstacle(entity) {
            output::problem(&ExitProblem::of(early, &failure));
        }
        return early;
    };
    let exit = Exit::from(&verdict);
    if let Verdict::Failed(failure) | Verdict::Blocked(failure) = &verdict {
        output::note(&format!("image/{name}:"));
        output::problem(&ExitProblem::of(exit, failure));
    }
    exit
}

fn desired_record(
    host: &HostSettings,
    image: &str,
    args: &ImageUploadArgs,
) -> Result<ImageRecord, ExitProblem> {
    let is_url = image.contains("://") || image.starts_with("file:");
    let text = if is_url {
        image.to_owned()
    } else {
        file_url(Path::new(image))?
    };
    let url: ImageUrl = text.parse().map_err(|error| wrong("the image", &error))?;
    if url.with_credentials().is_some() {
        let message = "credentials in the URL of an image without a VSI are not stored";
        let remedy = "download it and upload the file, or apply a VSI with this imageURL";
        return Err(ExitProblem::new(Exit::Usage, "VSI0607", message, remedy));
    }
    let checksum = args.checksum.as_deref().map(str::parse::<Checksum>);
    let checksum = checksum
        .transpose()
        .map_err(|error| wrong("--checksum", &error))?;
    let simulated = host.record.is_simulated() && url.stored().contains(".test/");
    let prefix = if simulated { SIMULATED } else { "" };
    Ok(ImageRecord {
        host: host.id(),
        pool: args.at.pool.clone(),
        url: format!("{prefix}{}", url.for_arch(&args.arch)),
        file_name: url.file_name().to_owned(),
        checksum: checksum.map(|checksum| checksum.to_string()),
    })
}

pub(super) fn file_url(path: &Path) -> Result<String, ExitProblem> {
    let path = std::path::absolute(path).map_err(|error| wrong("the file", &error))?;
    let url = url::Url::from_file_path(path);
    url.map(|url| url.to_string())
        .map_err(|()| wrong("the file", &"this is not a path"))
}

fn wrong(what: &str, why: &dyn std::fmt::Display) -> ExitProblem {
    let remedy = "see `vsiflow image upload --help`";
    ExitProblem::new(Exit::Usage, "VSI0607", format!("{what}: {why}"), remedy)
}
