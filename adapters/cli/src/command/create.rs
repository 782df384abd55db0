//! `create`: makes documents from a command line, and applies them. The host and the image are looked up first.

use serde_json::{Value, json};
use vsiflow_api::{ApplyRequest, PlanRequest, SentDocuments};
use vsiflow_workflows::kinds::{ObjectKind, ObjectRow, TableQuery};

use super::apply;
use crate::{
    args::{Common, CreateArgs, OutputFormat},
    compose::state_path,
    exit::{CommandOutcome, Exit, ExitProblem},
    output, service,
    work::described::{SOURCE, documents, file},
};

/// The prefix of the name of an image that a host has.
const IMAGE: &str = "image/";
/// The prefix of the images of a simulated host, which documents leave out.
const SIMULATED: &str = vsiflow_workflows::provision_vsi::SIMULATED;

pub(super) async fn run(common: &Common, args: CreateArgs) -> CommandOutcome {
    if let Some(snapshot) = &args.from {
        return super::snapshot::create_from(common, &args, snapshot).await;
    }
    let documents = documents(common, &args).await?;
    if args.dry_run {
        return Box::pin(dry_run(common, &args, documents)).await;
    }
    let request = ApplyRequest {
        documents: placed(common, &args, documents).await?,
        only_new: true,
        reason: common.reason.clone(),
        ..ApplyRequest::default()
    };
    apply::carry_out(common, request, args.wait, args.output).await
}

/// Prints the documents, and what the command itself would be refused for. The documents serve without a host, too.
async fn dry_run(common: &Common, args: &CreateArgs, documents: SentDocuments) -> CommandOutcome {
    print(&documents, args.output)?;
    // Where nothing is recorded, nothing is in the way, and a dry run makes no state directory. No database is connected to
    // for documents alone.
    let is_new = common.server.is_none() && !state_path(common)?.exists();
    if is_new || common.journal()?.is_some() {
        return Ok(Exit::Done);
    }
    let is_told = common.host.is_some() || !args.files.is_empty();
    let is_chosen = is_told || args.on.is_some() || args.target.is_some();
    if !is_chosen && hosts(common).await?.is_empty() {
        return Ok(Exit::Done);
    }
    let request = PlanRequest {
        documents: placed(common, args, documents).await?,
        dry_run: true,
        only_new: true,
        ..PlanRequest::default()
    };
    apply::foresee(&service::call(common, request).await?)
}

/// Prints the documents, except those of hosts: they may hold secrets.
fn print(documents: &SentDocuments, format: Option<OutputFormat>) -> CommandOutcome {
    let own = documents.files.iter().filter(|file| file.name == SOURCE);
    let own: Result<Vec<Value>, _> = own
        .map(|file| serde_json::from_slice(&file.content))
        .collect();
    let own = own.map_err(ExitProblem::defect)?;
    match format {
        Some(OutputFormat::Name) => own.iter().for_each(|document| {
            let name = document.pointer("/metadata/name").and_then(Value::as_str);
            output::line(&format!("vsi/{}", name.unwrap_or("")));
        }),
        Some(OutputFormat::Json) => match own.as_slice() {
            [one] => output::print(one, OutputFormat::Json)?,
            all => output::print(&output::list(all), OutputFormat::Json)?,
        },
        _ => {
            for (number, document) in own.iter().enumerate() {
                if number > 0 {
                    output::line("---");
                }
                output::print(document, OutputFormat::Yaml)?;
            }
        }
    }
    Ok(Exit::Done)
}

/// The documents with a host that is known, unless one is described, and with the addresses of images.
async fn placed(
    common: &Common,
    args: &CreateArgs,
    mut documents: SentDocuments,
) -> Result<SentDocuments, ExitProblem> {
    documents.on = known_host(common, args).await?;
    for file in &mut documents.files {
        if file.name == SOURCE {
            with_image(common, &mut file.content, documents.on.as_deref()).await?;
        }
    }
    Ok(documents)
}

/// The host that replaces the one in the documents; `None` if the command describes it, or labels of its files select it.
async fn known_host(common: &Common, args: &CreateArgs) -> Result<Option<String>, ExitProblem> {
    let is_described = common.host.is_some();
    if let Some((key, value)) = &args.target {
        if is_described || !args.files.is_empty() {
            return Ok(None);
        }
        return labelled_host(common, key, value).await.map(Some);
    }
    if args.on.is_some() || is_described {
        return Ok(args.on.clone());
    }
    let hosts = hosts(common).await?;
    let names: Vec<_> = hosts.iter().map(|host| host.name.as_str()).collect();
    match names.as_slice() {
        [only] => Ok(Some((*only).to_owned())),
        [] => {
            let message = "no host is named, and none is known";
            let remedy =
                "describe one with --host, or name its ConfigMap and Secret with -f and --target";
            Err(ExitProblem::new(Exit::Usage, "VSI0607", message, remedy))
        }
        several => {
            let message = format!("it may be on several hosts: {}", several.join(", "));
            let remedy = "name one of them with --on";
            Err(ExitProblem::new(Exit::Usage, "VSI0607", message, remedy))
        }
    }
}

/// The known hosts.
async fn hosts(common: &Common) -> Result<Vec<ObjectRow>, ExitProblem> {
    let query = TableQuery {
        objects: true,
        ..TableQuery::default()
    };
    service::rows(common, ObjectKind::Host, query).await
}

/// The only known host with that label.
async fn labelled_host(common: &Common, key: &str, value: &str) -> Result<String, ExitProblem> {
    let hosts = hosts(common).await?;
    let has_label = |host: &&ObjectRow| {
        let object = host.object.as_ref();
        let labels = object.and_then(|object| object.pointer("/status/labels"));
        labels.and_then(|labels| labels.get(key)) == Some(&json!(value))
    };
    let names = hosts.iter().filter(has_label);
    let names: Vec<_> = names.map(|host| host.name.as_str()).collect();
    match names.as_slice() {
        [only] => Ok((*only).to_owned()),
        [] => {
            let message = format!("no host is known with the label {key}={value}");
            let remedy = "`vsiflow get host` lists the labels; name a new host's ConfigMap and Secret with -f";
            Err(ExitProblem::new(Exit::NotFound, "VSI0703", message, remedy))
        }
        several => {
            let listed = several.join(", ");
            let message = format!("several hosts have the label {key}={value}: {listed}");
            let remedy = "name one of them with --on";
            Err(ExitProblem::new(Exit::Usage, "VSI0607", message, remedy))
        }
    }
}

/// Replaces the name of an image on a host by its URL.
async fn with_image(
    common: &Common,
    content: &mut Vec<u8>,
    host: Option<&str>,
) -> Result<(), ExitProblem> {
    let mut document = serde_json::from_slice::<Value>(content).map_err(ExitProblem::defect)?;
    let Some(image) = document.pointer_mut("/spec/imageURL") else {
        return Ok(());
    };
    let Some(name) = image.as_str().and_then(|image| image.strip_prefix(IMAGE)) else {
        return Ok(());
    };
    *image = json!(url_of(common, name, host).await?);
    *content = file(&document)?.content;
    Ok(())
}

/// The source of an image on a host: on the chosen host, or else the only one with that name.
async fn url_of(common: &Common, name: &str, host: Option<&str>) -> Result<String, ExitProblem> {
    let query = TableQuery {
        objects: true,
        ..TableQuery::default()
    };
    let mut images = service::objects(common, ObjectKind::Image, query).await?;
    images.retain(|image| text(image, "/metadata/name") == Some(name));
    let own = images
        .iter()
        .find(|image| host.is_some() && text(image, "/status/host") == host);
    let url = |image: &Value| {
        let url = text(image, "/status/url").unwrap_or_default();
        url.strip_prefix(SIMULATED).unwrap_or(url).to_owned()
    };
    if let Some(own) = own {
        return Ok(url(own));
    }
    let mut urls: Vec<_> = images.iter().map(url).collect();
    urls.sort_unstable();
    urls.dedup();
    let problem = |exit, message| {
        let remedy =
            "`vsiflow get image -o wide` lists the images with their addresses; name the address";
        Err(ExitProblem::new(exit, "VSI0703", message, remedy))
    };
    match urls.as_mut_slice() {
        [only] => Ok(std::mem::take(only)),
        [] => problem(Exit::NotFound, format!("{IMAGE}{name} is not known here")),
        _ => problem(Exit::Usage, format!("several images are called {name}")),
    }
}

fn text<'v>(value: &'v Value, pointer: &str) -> Option<&'v str> {
    value.pointer(pointer).and_then(Value::as_str)
}
