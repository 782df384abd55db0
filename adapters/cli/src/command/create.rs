//! `create`: makes documents from a command line, and applies them. The process that has the state directory
//! looks up the host and the image.

use serde_json::{Value, json};
use vsiflow_file::{Input, InputText};
use vsiflow_workflows::spec::{HostSettings, Resolved};

use super::{apply, host};
use crate::{
    args::{Common, CreateArgs, HostArgs, OutputFormat},
    compose::{App, state_path},
    exit::{CommandOutcome, Exit, ExitProblem, IN_USE},
    output,
    work::{
        self, CommandDocuments,
        described::{SOURCE, documents, input},
    },
};

/// The prefix of the name of an image that a host has.
const IMAGE: &str = "image/";

pub(super) async fn run(common: &Common, args: CreateArgs) -> CommandOutcome {
    if let Some(snapshot) = &args.from {
        return super::snapshot::create_from(common, &args, snapshot).await;
    }
    if args.dry_run {
        let documents = documents(common, &args).await?;
        let foretold = work::with_files(documents.clone(), dry_run(common, &args, &documents));
        return Box::pin(foretold).await;
    }
    let app = App::open_to_work(common).await?;
    refuse_present(&app, &args).await?;
    let resolved = resolved(&app, common, &args).await?;
    apply::bring_documents(app, common, &args.wait, args.output, resolved).await
}

/// Prints the documents, and what the command itself would be refused for. The documents serve without a host, too.
async fn dry_run(
    common: &Common,
    args: &CreateArgs,
    documents: &CommandDocuments,
) -> CommandOutcome {
    // A set of journals has no process that could answer for all of them. Where nothing is recorded, nothing is in the
    // way, and a dry run makes no state directory.
    if common.journal()?.is_some() || !state_path(common)?.exists() {
        return print(documents, args.output);
    }
    let opened = App::open(common).await;
    if let Err(problem) = &opened
        && problem.code == IN_USE
    {
        return opened.map(|_| Exit::Done);
    }
    print(documents, args.output)?;
    let app = opened?;
    let exit = foresee(&app, common, args).await;
    app.close().await;
    exit
}

async fn foresee(app: &App, common: &Common, args: &CreateArgs) -> CommandOutcome {
    refuse_present(app, args).await?;
    let is_told = common.host.is_some() || !args.files.is_empty();
    let is_chosen = is_told || args.on.is_some() || args.target.is_some();
    if !is_chosen && app.fleet.hosts().list().await?.is_empty() {
        return Ok(Exit::Done);
    }
    let resolved = resolved(app, common, args).await?;
    apply::foresee(app, &resolved).await
}

/// The desired state, on a host that is known.
async fn resolved(app: &App, common: &Common, args: &CreateArgs) -> Result<Resolved, ExitProblem> {
    let host = chosen_host(app, common, args).await?;
    let host_id = host.as_ref().map(HostSettings::id);
    let inputs = with_images(app, work::inputs(&[]), host_id.as_deref()).await?;
    resolve(inputs, host).await
}

/// Prints the documents, except those of hosts: they may hold secrets.
fn print(documents: &CommandDocuments, format: Option<OutputFormat>) -> CommandOutcome {
    let own = documents.files.iter().filter(|file| file.name == SOURCE);
    let own: Result<Vec<Value>, _> = own
        .map(|file| serde_json::from_slice(&file.bytes))
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

/// Refuses VSIs that exist: `apply` changes them, and shows what that costs.
async fn refuse_present(app: &App, args: &CreateArgs) -> Result<(), ExitProblem> {
    for name in &args.names {
        match app.fleet.vsis().find(&args.namespace, name).await {
            Ok(_) => {
                let label = work::label(&args.namespace, name);
                let message = format!("vsi/{label} is there already");
                let remedy = "use another name, or change it with `vsiflow apply`; --dry-run -o yaml prints a document";
                return Err(ExitProblem::new(Exit::Blocked, "VSI0812", message, remedy));
            }
            Err(error) => {
                let problem = ExitProblem::from(error);
                if problem.exit != Exit::NotFound {
                    return Err(problem);
                }
            }
        }
    }
    Ok(())
}

/// The host that replaces the one in the documents; `None` if labels select one.
async fn chosen_host(
    app: &App,
    common: &Common,
    args: &CreateArgs,
) -> Result<Option<HostSettings>, ExitProblem> {
    if let Some((key, value)) = &args.target {
        if common.host.is_some() || !args.files.is_empty() {
            return work::host(common);
        }
        return labelled_host(app, key, value).map(Some);
    }
    let at = HostArgs {
        name: args.on.clone(),
        files: Vec::new(),
    };
    host::one(app, common, &at).await.map(Some)
}

/// The only known host with that label.
fn labelled_host(app: &App, key: &str, value: &str) -> Result<HostSettings, ExitProblem> {
    let mut hosts = app.fleet.hosts().labelled(key, value);
    match (hosts.pop(), hosts.as_slice()) {
        (Some(only), []) => Ok(only),
        (None, _) => {
            let message = format!("no host is known with the label {key}={value}");
            let remedy = "`vsiflow get host` lists the labels; name a new host's ConfigMap and Secret with -f";
            Err(ExitProblem::new(Exit::NotFound, "VSI0703", message, remedy))
        }
        (Some(last), more) => {
            let mut names: Vec<_> = more.iter().map(HostSettings::id).collect();
            names.push(last.id());
            let names = names.join(", ");
            let message = format!("several hosts have the label {key}={value}: {names}");
            let remedy = "name one of them with --on";
            Err(ExitProblem::new(Exit::Usage, "VSI0607", message, remedy))
        }
    }
}

/// The documents, with the names of images on hosts replaced by their URLs.
async fn with_images(
    app: &App,
    inputs: Vec<Input>,
    host: Option<&str>,
) -> Result<Vec<Input>, ExitProblem> {
    let mut done = Vec::new();
    for input in inputs {
        done.push(match input {
            Input::Text(file) if file.name == SOURCE => {
                Input::Text(with_image(app, file, host).await?)
            }
            other => other,
        });
    }
    Ok(done)
}

async fn with_image(
    app: &App,
    file: InputText,
    host: Option<&str>,
) -> Result<InputText, ExitProblem> {
    // A caller's own document may be YAML; it names no image on a host.
    let Ok(mut document) = serde_json::from_slice::<Value>(&file.bytes) else {
        return Ok(file);
    };
    let Some(image) = document.pointer_mut("/spec/imageURL") else {
        return Ok(file);
    };
    let Some(name) = image.as_str().and_then(|image| image.strip_prefix(IMAGE)) else {
        return Ok(file);
    };
    let url = url_of(app, name, host).await?;
    *image = json!(url);
    input(&document)
}

/// The source of an image on a host: on the chosen host, or else the only one with that name.
async fn url_of(app: &App, name: &str, host: Option<&str>) -> Result<String, ExitProblem> {
    let mut images = app.fleet.images().list().await?;
    images.retain(|image| image.name == name);
    let own = images
        .iter()
        .find(|image| Some(image.host.as_str()) == host);
    if let Some(own) = own {
        return Ok(own.document_url().to_owned());
    }
    images.dedup_by(|one, other| one.url == other.url);
    let problem = |exit, message| {
        let remedy =
            "`vsiflow get image -o wide` lists the images with their addresses; name the address";
        Err(ExitProblem::new(exit, "VSI0703", message, remedy))
    };
    match images.as_slice() {
        [only] => Ok(only.document_url().to_owned()),
        [] => problem(Exit::NotFound, format!("{IMAGE}{name} is not known here")),
        _ => problem(Exit::Usage, format!("several images are called {name}")),
    }
}

async fn resolve(inputs: Vec<Input>, host: Option<HostSettings>) -> Result<Resolved, ExitProblem> {
    let read = move || {
        let loaded = vsiflow_file::load(&inputs, false, &mut std::io::empty())?;
        let resolved = loaded.resolve(host.as_ref())?;
        Ok((loaded.warn_of(&resolved.unresolved_refs), resolved))
    };
    let (warnings, resolved) = work::off_runtime(read)
        .await?
        .map_err(work::diagnostics_problem)?;
    output::diagnostics(&warnings);
    Ok(resolved)
}
