//! `create`: makes documents from a command line, and applies them.
//!
//! The process that the user started makes the documents, because the command line names local files. The
//! process that has the state directory looks up the host and the image.

use std::path::Path;

use serde_json::{Map, Value, json};
use vsiflow_file::{Input, InputText};
use vsiflow_workflows::spec::{HostSettings, Resolved, server_type::ServerType};

use super::{apply, host, journal_file::beginning};
use crate::{
    args::{Common, CreateArgs, HostArgs, OutputFormat},
    compose::App,
    exit::{CommandOutcome, Exit, ExitProblem},
    output,
    work::ask,
    work::{self, CommandDocuments},
};

/// The name of the documents in error messages.
const SOURCE: &str = "the command line";
/// The largest file that a document is made from, in bytes.
const FILE_MAX: u64 = 8 << 20;
/// The prefix of the name of an image that a host has.
const IMAGE: &str = "image/";
/// The label by which a VSI selects its network.
const NETWORK: &str = "vsiflow.io/network";

/// Makes the documents, and reads those of the hosts. A daemon uses the documents that its caller made.
pub(crate) async fn documents(
    common: &Common,
    args: &CreateArgs,
) -> Result<CommandDocuments, ExitProblem> {
    if App::held().is_some() {
        let documents = work::gather(&[], false).await?;
        if documents.files.iter().any(|file| file.name == SOURCE) {
            return Ok(documents);
        }
        refuse_files(args)?;
    }
    let mut documents = if args.files.is_empty() {
        CommandDocuments::default()
    } else {
        work::gather(&args.files, false).await?
    };
    let size = size(common, &args.server_type).await?;
    let guest = guest(args, &size.guest).await?;
    for name in &args.names {
        let vsi = document(args, name, (&size, &guest));
        documents.files.push(input(&vsi)?);
    }
    if let Some(network) = &args.network {
        documents
            .files
            .push(input(&network_reference(args, network))?);
    }
    documents.directory = None;
    Ok(documents)
}

/// A daemon refuses files: the caller's paths may be other files here.
fn refuse_files(args: &CreateArgs) -> Result<(), ExitProblem> {
    let named = args.contract.iter().chain(&args.user_data);
    let Some(file) = named.chain(&args.ssh_keys).next() else {
        return Ok(());
    };
    let message = format!(
        "{} is a file of the caller, which is not read here",
        file.display()
    );
    let remedy = "run `vsiflow create` where the file is, or send a document with its text";
    Err(ExitProblem::new(Exit::Usage, "VSI0022", message, remedy))
}

/// A document as input text. JSON is valid YAML.
fn input(document: &Value) -> Result<InputText, ExitProblem> {
    Ok(InputText {
        name: SOURCE.to_owned(),
        bytes: serde_json::to_vec_pretty(document).map_err(ExitProblem::defect)?,
    })
}

/// The values of a server type.
struct Size {
    cpus: u64,
    memory: String,
    boot_disk: Option<String>,
    guest: Map<String, Value>,
}

/// Looks up a type. Built-in types are known here; the process that has the state directory knows the others.
async fn size(common: &Common, name: &str) -> Result<Size, ExitProblem> {
    if let Some(size) = ServerType::named(name) {
        return Ok(Size {
            cpus: size.cpus.into(),
            memory: size.memory.to_owned(),
            boot_disk: Some(size.boot_disk.to_owned()),
            guest: Map::new(),
        });
    }
    let found = ask::ask(common, &["get", "type", name, "-o", "json"]).await;
    let found = found.map_err(|problem| match problem.exit {
        Exit::NotFound => unknown_type(name),
        _ => problem,
    })?;
    let found: Value = serde_json::from_str(&found).map_err(ExitProblem::defect)?;
    let status = found.get("status").ok_or_else(|| unknown_type(name))?;
    let text = |key: &str| status.get(key).and_then(Value::as_str).map(str::to_owned);
    let guest = status.get("guest").and_then(Value::as_object);
    Ok(Size {
        cpus: status.get("cpus").and_then(Value::as_u64).unwrap_or(1),
        memory: text("memory").unwrap_or_default(),
        boot_disk: text("bootDisk"),
        guest: guest.cloned().unwrap_or_default(),
    })
}

fn unknown_type(name: &str) -> ExitProblem {
    let message = format!("there is no type {name}");
    let remedy = "`vsiflow get types` lists them; `vsiflow apply` makes one of a document of kind VirtualServerType";
    ExitProblem::new(Exit::NotFound, "VSI0703", message, remedy)
}

/// The guest follows from the files: a contract, or keys or user-data, or nothing. The type supplies the
/// rest.
async fn guest(args: &CreateArgs, of_type: &Map<String, Value>) -> Result<Value, ExitProblem> {
    let mut guest = Map::new();
    if let Some(file) = &args.contract {
        guest.insert("type".to_owned(), json!("hyperProtect"));
        guest.insert("contract".to_owned(), json!(text(file).await?));
        return Ok(Value::Object(guest));
    }
    let mut keys = Vec::new();
    for file in &args.ssh_keys {
        let text = text(file).await?;
        keys.extend(
            text.lines()
                .map(str::trim)
                .filter(|line| !line.is_empty())
                .map(str::to_owned),
        );
    }
    if let Some(file) = &args.user_data {
        let text = text(file).await?;
        guest.insert("userData".to_owned(), json!(text));
    }
    let has_any = !keys.is_empty() || !guest.is_empty();
    if !keys.is_empty() {
        guest.insert("sshKeys".to_owned(), json!(keys));
    }
    let has_keys = guest.contains_key("sshKeys") || of_type.contains_key("sshKeys");
    let usual = if has_any || has_keys {
        "cloudInit"
    } else {
        "none"
    };
    let mut all = Map::from_iter([("type".to_owned(), json!(usual))]);
    all.extend(of_type.clone());
    all.extend(guest);
    Ok(Value::Object(all))
}

/// Reads a whole text file.
async fn text(path: &Path) -> Result<String, ExitProblem> {
    let text = beginning(path, FILE_MAX.saturating_add(1)).await?;
    if text.len() as u64 > FILE_MAX {
        let message = format!("{} has more than {FILE_MAX} bytes", path.display());
        let remedy = "name a smaller file";
        return Err(ExitProblem::new(Exit::Usage, "VSI0908", message, remedy));
    }
    Ok(text)
}

fn labels(args: &CreateArgs) -> Map<String, Value> {
    let pairs = args.labels.iter();
    pairs
        .map(|(key, value)| (key.clone(), json!(value)))
        .collect()
}

fn meta(args: &CreateArgs, name: &str, labels: Map<String, Value>) -> Value {
    let mut meta = Map::from_iter([("name".to_owned(), json!(name))]);
    if args.namespace != "default" {
        meta.insert("namespace".to_owned(), json!(args.namespace));
    }
    if !labels.is_empty() {
        meta.insert("labels".to_owned(), Value::Object(labels));
    }
    Value::Object(meta)
}

/// The selector of the host. If it is empty, the host is looked up later.
fn target(args: &CreateArgs) -> Value {
    match &args.target {
        Some((key, value)) => json!({"matchLabels": {key: value}}),
        None => json!({}),
    }
}

fn document(args: &CreateArgs, name: &str, (size, guest): (&Size, &Value)) -> Value {
    let mut machine = Map::new();
    if let Some(arch) = &args.arch {
        machine.insert("arch".to_owned(), json!(arch));
    }
    machine.insert(
        "cpus".to_owned(),
        json!(args.cpus.map_or(size.cpus, u64::from)),
    );
    let memory = args.memory.as_deref().unwrap_or(&size.memory);
    machine.insert("memory".to_owned(), json!(memory));
    let mut spec = json!({
        "imageURL": args.image,
        "storagePool": args.pool,
        "targetSelector": target(args),
        "machine": machine,
        "guest": guest,
    });
    let Some(fields) = spec.as_object_mut() else {
        return spec;
    };
    if let Some(disk) = boot_disk(args, size) {
        fields.insert("bootDisk".to_owned(), disk);
    }
    if args.network.is_some() {
        let selector = json!({"matchLabels": {NETWORK: network_name(args)}});
        fields.insert("networkSelector".to_owned(), selector);
    }
    json!({
        "apiVersion": "vsiflow.io/v1",
        "kind": "VirtualServer",
        "metadata": meta(args, name, labels(args)),
        "spec": spec,
    })
}

/// The boot disk. For a Hyper Protect guest it has the size of its image.
fn boot_disk(args: &CreateArgs, size: &Size) -> Option<Value> {
    let mut disk = Map::new();
    if args.ephemeral {
        disk.insert("mode".to_owned(), json!("ephemeral"));
    }
    let size = args.disk.as_ref().or(size.boot_disk.as_ref());
    if let Some(size) = size.filter(|_| args.contract.is_none()) {
        disk.insert("size".to_owned(), json!(size));
    }
    (!disk.is_empty()).then_some(Value::Object(disk))
}

/// The name of the network reference and of its label.
fn network_name(args: &CreateArgs) -> String {
    args.names.first().cloned().unwrap_or_default()
}

fn network_reference(args: &CreateArgs, network: &str) -> Value {
    let name = network_name(args);
    let labels = Map::from_iter([(NETWORK.to_owned(), json!(name))]);
    json!({
        "apiVersion": "hpse.ibm.com/v1",
        "kind": "HyperProtectContainerRuntimeOnPremNetworkRef",
        "metadata": meta(args, &format!("{name}-network"), labels),
        "spec": {"networkName": network, "targetSelector": target(args)},
    })
}

pub(super) async fn run(common: &Common, args: CreateArgs) -> CommandOutcome {
    if let Some(snapshot) = &args.from {
        return super::snapshot::create_from(common, &args, snapshot).await;
    }
    if args.dry_run {
        return print(&documents(common, &args).await?, args.output);
    }
    let app = App::open_to_work(common).await?;
    for name in &args.names {
        refuse_present(&app, &args.namespace, name).await?;
    }
    let host = chosen_host(&app, common, &args).await?;
    let host_id = host.as_ref().map(HostSettings::id);
    let inputs = with_images(&app, work::inputs(&[]), host_id.as_deref()).await?;
    let resolved = resolve(inputs, host).await?;
    apply::bring_documents(app, common, &args.wait, args.output, resolved).await
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

/// Refuses a VSI that exists: `apply` changes it, and shows what that costs.
async fn refuse_present(app: &App, namespace: &str, name: &str) -> Result<(), ExitProblem> {
    match app.fleet.vsis().find(namespace, name).await {
        Ok(_) => {
            let message = format!("vsi/{} is there already", work::label(namespace, name));
            let remedy = "use another name, or change it with `vsiflow apply`; --dry-run -o yaml prints a document";
            Err(ExitProblem::new(Exit::Blocked, "VSI0812", message, remedy))
        }
        Err(error) => {
            let problem = ExitProblem::from(error);
            match problem.exit {
                Exit::NotFound => Ok(()),
                _ => Err(problem),
            }
        }
    }
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
