//! Makes the documents of VSIs that a command line describes.
//!
//! The process that the user started makes them, because the command line names local files.

use std::path::Path;

use serde_json::{Map, Value, json};
use vsiflow_api::{SentDocuments, SentFile};
use vsiflow_steps::guest::user_data::text_of_file;
use vsiflow_workflows::{
    kinds::{ObjectKind, TableQuery},
    spec::server_type::ServerType,
};

use super::documents::gather;
use crate::{
    args::{Common, CreateArgs},
    exit::{Exit, ExitProblem},
    service,
    user_file::{beginning, beginning_bytes},
};

/// The name of the documents in error messages.
pub(crate) const SOURCE: &str = "the command line";
/// The largest file that a document is made from, in bytes.
const FILE_MAX: u64 = 8 << 20;
/// The label by which a VSI selects its network.
const NETWORK: &str = "vsiflow.io/network";

/// Makes the documents, and reads those of the hosts.
pub(crate) async fn documents(
    common: &Common,
    args: &CreateArgs,
) -> Result<SentDocuments, ExitProblem> {
    let mut documents = if args.files.is_empty() {
        SentDocuments::default()
    } else {
        gather(&args.files, false).await?
    };
    let size = size(common, &args.server_type).await?;
    let guest = guest(args, &size.guest).await?;
    for name in &args.names {
        let vsi = document(args, name, (&size, &guest));
        documents.files.push(file(&vsi)?);
    }
    if let Some(network) = &args.network {
        documents
            .files
            .push(file(&network_reference(args, network))?);
    }
    Ok(SentDocuments {
        directory: None,
        host: common.host.clone(),
        ..documents
    })
}

/// A document as a file. JSON is valid YAML.
pub(crate) fn file(document: &Value) -> Result<SentFile, ExitProblem> {
    Ok(SentFile {
        name: SOURCE.to_owned(),
        content: serde_json::to_vec_pretty(document).map_err(ExitProblem::defect)?,
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
    let query = TableQuery {
        names: vec![name.to_owned()],
        ..TableQuery::default()
    };
    let found = service::objects(common, ObjectKind::Type, query).await;
    let found = found.map_err(|problem| match problem.exit {
        Exit::NotFound => unknown_type(name),
        _ => problem,
    })?;
    let found = found
        .first()
        .and_then(|server_type| server_type.get("status"));
    let status = found.ok_or_else(|| unknown_type(name))?;
    if status.get("phase").is_some() {
        let why = status.get("message").and_then(Value::as_str);
        return Err(unreadable_type(name, why.unwrap_or_default()));
    }
    let text = |key: &str| status.get(key).and_then(Value::as_str).map(str::to_owned);
    let guest = status.get("guest").and_then(Value::as_object);
    Ok(Size {
        cpus: status.get("cpus").and_then(Value::as_u64).unwrap_or(1),
        memory: text("memory").unwrap_or_default(),
        boot_disk: text("bootDisk"),
        guest: guest.cloned().unwrap_or_default(),
    })
}

fn unreadable_type(name: &str, why: &str) -> ExitProblem {
    let message = format!("type {name} cannot be read: {why}");
    let remedy = "apply its document again, or name another type";
    ExitProblem::new(Exit::Blocked, "VSI0018", message, remedy)
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
        guest.insert("userData".to_owned(), json!(user_data(file).await?));
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
    refuse_long(path, text.len())?;
    Ok(text)
}

/// Reads a whole file of user-data, which may be packed by gzip.
async fn user_data(path: &Path) -> Result<String, ExitProblem> {
    let bytes = beginning_bytes(path, FILE_MAX.saturating_add(1)).await?;
    refuse_long(path, bytes.len())?;
    text_of_file(bytes).map_err(|problem| {
        let message = format!(
            "{} cannot be user-data: {}",
            path.display(),
            problem.message
        );
        ExitProblem::new(Exit::Usage, "VSI0908", message, problem.remedy)
    })
}

fn refuse_long(path: &Path, bytes: usize) -> Result<(), ExitProblem> {
    if bytes as u64 <= FILE_MAX {
        return Ok(());
    }
    let message = format!("{} has more than {FILE_MAX} bytes", path.display());
    let remedy = "name a smaller file";
    Err(ExitProblem::new(Exit::Usage, "VSI0908", message, remedy))
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
