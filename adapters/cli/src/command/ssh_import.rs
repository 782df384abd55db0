//! `ssh-config import`: the host settings of a host that `ssh` knows, as documents.
//!
//! OpenSSH itself is asked what its configuration comes to (`ssh -G`) and which keys it knows (`ssh-keygen -F`).

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tokio::process::Command;

use super::{
    CommandOutcome,
    journal_file::{small, unreadable},
};
use crate::{
    args::{OutputFormat, SshImportArgs},
    exit::{Exit, ExitProblem},
    output,
};

pub(super) async fn run(args: &SshImportArgs) -> CommandOutcome {
    let settings = asked(Command::new("ssh").args(["-G", "--", &args.host])).await?;
    let one = |name: &str| {
        values(&settings, name)
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let (host, port, user) = (one("hostname"), one("port"), one("user"));
    let (key_file, key) = identity(&settings).await?;
    let known_hosts = known_hosts(&settings, &host, &port).await?;
    if known_hosts.is_empty() {
        output::warning(&format!(
            "no key of {host} is known: log in once by `ssh {}`, then import again, or vsiflow will refuse the host",
            args.host
        ));
    }
    if values(&settings, "proxyjump").any(|jump| jump != "none") {
        output::warning("its ProxyJump is not taken over");
    }
    let mut data = Map::new();
    for (name, value) in [
        ("HOSTNAME", host),
        ("PORT", port),
        ("USER", user),
        ("KNOWN_HOSTS", known_hosts),
    ] {
        if !value.is_empty() {
            data.insert(name.to_owned(), json!(value));
        }
    }
    output::note(&format!(
        "the private key is that of {}",
        key_file.display()
    ));
    output::print(
        &document(args, "ConfigMap", "data", &data),
        OutputFormat::Yaml,
    )?;
    output::line("---");
    let secret = Map::from_iter([("KEY".to_owned(), json!(key))]);
    output::print(
        &document(args, "Secret", "stringData", &secret),
        OutputFormat::Yaml,
    )?;
    Ok(Exit::Done)
}

fn document(args: &SshImportArgs, kind: &str, field: &str, data: &Map<String, Value>) -> Value {
    let labels = args.labels.iter();
    let labels: Map<_, _> = labels
        .map(|(key, value)| (key.clone(), json!(value)))
        .collect();
    let name = args.name.as_deref().unwrap_or(&args.host);
    json!({
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": args.namespace, "labels": labels},
        field: data,
    })
}

/// The values of a setting, in the order that `ssh` takes them in.
fn values<'t>(settings: &'t str, name: &str) -> impl Iterator<Item = &'t str> {
    let lines = settings.lines().filter_map(|line| line.split_once(' '));
    lines
        .filter(move |(found, _)| *found == name)
        .map(|(_, value)| value)
}

/// The first key that is there.
async fn identity(settings: &str) -> Result<(PathBuf, String), ExitProblem> {
    for file in values(settings, "identityfile") {
        let file = at_home(file);
        if file.is_file() {
            let key = small(&file).await?;
            return Ok((file, key));
        }
    }
    let message = "ssh has no private key for it in a file";
    let remedy = "name one by IdentityFile in ~/.ssh/config";
    Err(ExitProblem::new(Exit::NotFound, "VSI0814", message, remedy))
}

/// The lines of known hosts that are of this host. They may be hashed: vsiflow reads these, too.
async fn known_hosts(settings: &str, host: &str, port: &str) -> Result<String, ExitProblem> {
    let name = match port {
        "22" => host.to_owned(),
        port => format!("[{host}]:{port}"),
    };
    let mut all = String::new();
    let files =
        values(settings, "userknownhostsfile").chain(values(settings, "globalknownhostsfile"));
    for file in files
        .flat_map(str::split_whitespace)
        .map(at_home)
        .filter(|file| file.is_file())
    {
        let mut asks = Command::new("ssh-keygen");
        asks.args(["-F", &name, "-f"]).arg(&file);
        // Without a line it ends with 1.
        let found = asks
            .output()
            .await
            .map_err(|error| unreadable(&file, &error))?;
        let text = String::from_utf8_lossy(&found.stdout).into_owned();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            all.push_str(line);
            all.push('\n');
        }
    }
    Ok(all)
}

fn at_home(file: &str) -> PathBuf {
    match (file.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => PathBuf::from(file),
    }
}

async fn asked(command: &mut Command) -> Result<String, ExitProblem> {
    let problem = |why: String| {
        let message = format!("ssh's configuration cannot be read: {why}");
        let remedy = "see what `ssh -G HOST` says";
        ExitProblem::new(Exit::Failed, "VSI0814", message, remedy)
    };
    let answer = command
        .output()
        .await
        .map_err(|error| problem(error.to_string()))?;
    match answer.status.success() {
        true => Ok(String::from_utf8_lossy(&answer.stdout).into_owned()),
        false => Err(problem(
            String::from_utf8_lossy(&answer.stderr).trim().to_owned(),
        )),
    }
}
