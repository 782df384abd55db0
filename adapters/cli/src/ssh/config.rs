//! Writes a file for `Include` in `~/.ssh/config`, with an entry for each VSI that has an address.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tokio::{fs::OpenOptions, io::AsyncWriteExt as _};

use super::SshTarget;

/// The file's name in the state directory.
const FILE: &str = "ssh_config";
/// The file beside it, with the host keys that `ssh` has accepted.
const KNOWN_HOSTS: &str = "ssh_known_hosts";
/// The first line of the file.
pub(super) const HEAD: &str =
    "# Written by vsiflow; changes are lost. `vsiflow ssh-config --write` explains it.\n";

/// The path of the file of a state directory.
pub(crate) fn path(state: &Path) -> PathBuf {
    state.join(FILE)
}

/// An entry for each VSI that can be reached: `NAME`, and `NAME.NAMESPACE`.
pub(crate) fn render(objects: &[Value], state: &Path) -> String {
    let entries = objects.iter().map(|object| entry_of(object, state));
    std::iter::once(HEAD.to_owned()).chain(entries).collect()
}

/// The entry of a VSI; empty if it cannot be reached.
pub(super) fn entry_of(object: &Value, state: &Path) -> String {
    let mut text = String::new();
    if let Ok(target) = SshTarget::of(object) {
        entry(&mut text, &target, state);
    }
    text
}

fn entry(text: &mut String, target: &SshTarget, state: &Path) {
    let SshTarget {
        namespace, name, ..
    } = target;
    let short = if namespace == "default" {
        format!("{name} ")
    } else {
        String::new()
    };
    text.push_str(&format!("\nHost {short}{name}.{namespace}\n"));
    for (option, value) in target.options() {
        text.push_str(&format!("  {option} {value}\n"));
    }
    let known = state.join(KNOWN_HOSTS);
    text.push_str(&format!("  UserKnownHostsFile \"{}\"\n", known.display()));
    text.push_str("  StrictHostKeyChecking accept-new\n");
}

/// Writes the file atomically if its content has changed. Cancel safe.
pub(crate) async fn write(path: &Path, text: &str) -> io::Result<()> {
    if tokio::fs::read_to_string(path)
        .await
        .is_ok_and(|now| now == text)
    {
        return Ok(());
    }
    let part = path.with_extension(format!("{}.part", std::process::id()));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&part).await?;
    file.write_all(text.as_bytes()).await?;
    file.flush().await?;
    tokio::fs::rename(&part, path).await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_vsi_with_an_address_has_an_entry() {
        let vsi = |name: &str, namespace: &str, ips: &[&str]| {
            json!({
                "metadata": {"name": name, "namespace": namespace, "uid": format!("uid-{name}")},
                "status": {"host": "root@h:22", "ipAddresses": ips},
            })
        };
        let objects = [
            vsi("web", "default", &["10.0.0.2"]),
            vsi("db", "prod", &["10.0.0.3"]),
            vsi("off", "default", &[]),
        ];
        assert_eq!(
            render(&objects, Path::new("/s")),
            format!(
                "{HEAD}
Host web web.default
  HostName 10.0.0.2
  HostKeyAlias vsiflow-uid-web
  ProxyJump root@h:22
  UserKnownHostsFile \"/s/ssh_known_hosts\"
  StrictHostKeyChecking accept-new

Host db.prod
  HostName 10.0.0.3
  HostKeyAlias vsiflow-uid-db
  ProxyJump root@h:22
  UserKnownHostsFile \"/s/ssh_known_hosts\"
  StrictHostKeyChecking accept-new
"
            )
        );
    }
}
