//! `ssh-config import`: writes the settings of a host that `ssh` knows as documents.
//!
//! OpenSSH itself supplies its effective configuration (`ssh -G`) and its known keys (`ssh-keygen -F`).

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tokio::process::Command;

use super::journal_file::{small, unreadable};
use crate::{
    args::{OutputFormat, SshImportArgs},
    exit::{CommandOutcome, Exit, ExitProblem},
    output,
};

pub(super) async fn run(args: &SshImportArgs) -> CommandOutcome {
    let settings = output_of(Command::new("ssh").args(["-G", "--", &args.host])).await?;
    let login = Login::of(&settings, &args.host).await?;
    let (mut data, mut secret) = (Map::new(), Map::new());
    for (name, value) in [
        ("HOSTNAME", login.host),
        ("PORT", login.port),
        ("USER", login.user),
        ("KNOWN_HOSTS", login.known_hosts),
    ] {
        if !value.is_empty() {
            data.insert(name.to_owned(), json!(value));
        }
    }
    secret.insert("KEY".to_owned(), json!(login.key));
    way(&settings, &mut data, &mut secret).await?;
    output::print(
        &document(args, "ConfigMap", "data", &data),
        OutputFormat::Yaml,
    )?;
    output::line("---");
    output::print(
        &document(args, "Secret", "stringData", &secret),
        OutputFormat::Yaml,
    )?;
    Ok(Exit::Done)
}

/// How `ssh` logs in to a host.
struct Login {
    host: String,
    port: String,
    user: String,
    key: String,
    known_hosts: String,
}

impl Login {
    /// The login from these settings of a host, which the user names `called`.
    async fn of(settings: &str, called: &str) -> Result<Self, ExitProblem> {
        let one = |name: &str| {
            let value = values(settings, name).next();
            value.unwrap_or_default().to_owned()
        };
        let (host, port, user) = (one("hostname"), one("port"), one("user"));
        let (key_file, key) = identity(settings).await?;
        let known_hosts = known_hosts(settings, &host, &port).await?;
        if known_hosts.is_empty() {
            output::warning(&format!(
                "no key of {host} is known: log in once by `ssh {called}`, then import again, or vsiflow will refuse the host",
            ));
        }
        output::note(&format!(
            "the private key for {host} is that of {}",
            key_file.display()
        ));
        Ok(Self {
            host,
            port,
            user,
            key,
            known_hosts,
        })
    }
}

/// The jump hosts, each with what `ssh` knows about it.
async fn way(
    settings: &str,
    data: &mut Map<String, Value>,
    secret: &mut Map<String, Value>,
) -> Result<(), ExitProblem> {
    let Some(jumps) = values(settings, "proxyjump").find(|jump| *jump != "none") else {
        return Ok(());
    };
    let (mut names, mut known_hosts) = (Vec::new(), String::new());
    for (number, jump) in (1..).zip(jumps.split(',')) {
        let uri = if jump.starts_with("ssh://") {
            jump.to_owned()
        } else {
            format!("ssh://{jump}")
        };
        let jump_settings = output_of(Command::new("ssh").args(["-G", "--", &uri])).await?;
        if values(&jump_settings, "proxyjump").any(|further| further != "none") {
            output::warning(&format!("the ProxyJump of {jump} itself is not taken over"));
        }
        let login = Login::of(&jump_settings, jump).await?;
        let host = if login.host.contains(':') {
            format!("[{}]", login.host)
        } else {
            login.host
        };
        names.push(format!("{}@{host}:{}", login.user, login.port));
        known_hosts.push_str(&login.known_hosts);
        secret.insert(format!("PROXY_JUMP_{number}_KEY"), json!(login.key));
    }
    data.insert("PROXY_JUMP".to_owned(), json!(names.join(",")));
    if !known_hosts.is_empty() {
        data.insert("PROXY_JUMP_KNOWN_HOSTS".to_owned(), json!(known_hosts));
    }
    Ok(())
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

/// The values of a setting, in the order in which `ssh` uses them.
fn values<'t>(settings: &'t str, name: &str) -> impl Iterator<Item = &'t str> {
    let lines = settings.lines().filter_map(|line| line.split_once(' '));
    lines
        .filter(move |(found, _)| *found == name)
        .map(|(_, value)| value)
}

/// The first key file that exists.
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

/// The lines in known hosts files for this host. They may be hashed: vsiflow reads these, too.
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
        // `ssh-keygen` exits with 1 if it finds no line.
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

async fn output_of(command: &mut Command) -> Result<String, ExitProblem> {
    let problem = |why: String| {
        let message = format!("ssh's configuration cannot be read: {why}");
        let remedy = "see what `ssh -G HOST` says";
        ExitProblem::new(Exit::Failed, "VSI0814", message, remedy)
    };
    let answer = command
        .output()
        .await
        .map_err(|error| problem(error.to_string()))?;
    if answer.status.success() {
        Ok(String::from_utf8_lossy(&answer.stdout).into_owned())
    } else {
        Err(problem(
            String::from_utf8_lossy(&answer.stderr).trim().to_owned(),
        ))
    }
}
