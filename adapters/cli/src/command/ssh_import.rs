//! `ssh-config import`: writes the settings of a host that `ssh` knows as documents.
//!
//! OpenSSH itself supplies its effective configuration (`ssh -G`). What decides trust, route or login is carried
//! over, or the import is refused.

mod algorithms;
mod settings;
mod trust;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use vsiflow_libvirt::known_hosts::KnownHost;
use vsiflow_steps::guest::user_data::is_public_key;

use self::settings::SshSettings;
use crate::{
    args::{OutputFormat, SshImportArgs},
    exit::{CommandOutcome, Exit, ExitProblem},
    output,
    user_file::small,
};

/// The most jump hosts on the way to a host.
const JUMPS_MAX: usize = 16;

pub(super) async fn run(args: &SshImportArgs) -> CommandOutcome {
    let settings = SshSettings::of(&args.host).await?;
    let login = Login::of(&settings).await?;
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
    /// The login from these settings of a host.
    async fn of(settings: &SshSettings) -> Result<Self, ExitProblem> {
        let value = |name: &str| settings.value(name).to_owned();
        let (host, port, user) = (value("hostname"), value("port"), value("user"));
        let (key_file, key) = identity(settings).await?;
        let known_hosts = trust::known_hosts(settings).await?;
        let listed = KnownHost::find(&known_hosts, &host, port.parse().unwrap_or(22));
        if !listed.trusts_any() {
            output::warning(&format!(
                "no key of {host} is known: log in once by `ssh {}`, then import again, or vsiflow will refuse the host",
                settings.called
            ));
        }
        if settings.value("addressfamily") != "any" {
            output::warning(&format!(
                "AddressFamily of {} is not carried over: vsiflow tries every address of {host}",
                settings.called
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
    settings: &SshSettings,
    data: &mut Map<String, Value>,
    secret: &mut Map<String, Value>,
) -> Result<(), ExitProblem> {
    let jumps = jumps_of(settings).await?;
    if jumps.is_empty() {
        return Ok(());
    }
    let (mut names, mut known_hosts) = (Vec::new(), String::new());
    for (number, jump) in (1..).zip(&jumps) {
        let login = Login::of(jump).await?;
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

/// The settings of the jump hosts in the order of the way. As in OpenSSH, the first one is reached by its own
/// jump hosts, and those of the others do not count.
async fn jumps_of(settings: &SshSettings) -> Result<Vec<SshSettings>, ExitProblem> {
    let mut jumps = VecDeque::new();
    let mut next = Some(settings.value("proxyjump").to_owned());
    while let Some(list) = next.take().filter(|list| !list.is_empty()) {
        // The hosts on the way have settings of their own.
        let of = jumps.front().unwrap_or(settings);
        if list.contains('%') {
            let remedy = "write the names themselves into ProxyJump in ~/.ssh/config";
            return Err(of.uncarried(&format!("the tokens in ProxyJump {list}"), remedy));
        }
        for jump in list.rsplit(',') {
            let uri = if jump.starts_with("ssh://") {
                jump.to_owned()
            } else {
                format!("ssh://{jump}")
            };
            jumps.push_front(SshSettings::of(&uri).await?);
            if jumps.len() > JUMPS_MAX {
                let remedy = "correct ProxyJump in ~/.ssh/config: it may name a host that is reached through itself";
                return Err(
                    settings.uncarried(&format!("more than {JUMPS_MAX} jump hosts"), remedy)
                );
            }
        }
        next = jumps
            .front()
            .map(|first| first.value("proxyjump").to_owned());
    }
    Ok(jumps.into())
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

/// The first key file that exists.
async fn identity(settings: &SshSettings) -> Result<(PathBuf, String), ExitProblem> {
    for file in settings.values("identityfile") {
        let file = settings.expanded("IdentityFile", file)?;
        if file.is_file() {
            warn_of_certificate(settings, &file);
            let key = small(&file).await?;
            if key.lines().any(is_public_key) {
                let remedy = "name the file of the private key by IdentityFile in ~/.ssh/config; or write documents \
                              without KEY and run vsiflow with the agent that has it in SSH_AUTH_SOCK";
                return Err(settings.uncarried("an IdentityFile with a public key", remedy));
            }
            return Ok((file, key));
        }
    }
    let message = format!("ssh has no private key for {} in a file", settings.called);
    let remedy = "name one by IdentityFile in ~/.ssh/config";
    Err(ExitProblem::new(Exit::NotFound, "VSI0814", message, remedy))
}

/// `ssh` presents a certificate beside a key without being told.
fn warn_of_certificate(settings: &SshSettings, key: &Path) {
    let mut certificate = key.as_os_str().to_owned();
    certificate.push("-cert.pub");
    let certificate = PathBuf::from(certificate);
    if certificate.is_file() {
        output::warning(&format!(
            "ssh also shows the certificate {} to {}; vsiflow shows the key alone",
            certificate.display(),
            settings.called
        ));
    }
}
