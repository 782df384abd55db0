//! The lines of known hosts that `ssh` has for a host.

use std::path::{Path, PathBuf};

use vsiflow_libvirt::known_hosts::{host_name, lines_naming};

use super::settings::SshSettings;
use crate::{exit::ExitProblem, user_file::unreadable};

/// The most bytes of a file of known hosts, or of revoked keys.
const FILE_MAX: u64 = 16 << 20;

/// The lines for the host, under the name that vsiflow looks up. They may be hashed: vsiflow reads these, too.
pub(super) async fn known_hosts(settings: &SshSettings) -> Result<String, ExitProblem> {
    let (host, port) = (settings.value("hostname"), settings.value("port"));
    let port = port.parse().unwrap_or(22);
    let (name, bare) = (host_name(host, port), host_name(host, 22));
    let mut lines = String::new();
    for file in files(settings)? {
        let text = text_of(&file).await?;
        match settings.value("hostkeyalias") {
            "" => {
                lines.push_str(&lines_naming(&text, &name, None));
                if port != 22 {
                    lines.push_str(&lines_naming(&text, &bare, None));
                }
            }
            alias => lines.push_str(&lines_naming(&text, alias, Some(&name))),
        }
    }
    let is_authority = |line: &str| line.starts_with("@cert-authority");
    if !settings.value("hostkeyalias").is_empty() && lines.lines().any(is_authority) {
        let remedy = "add the host's own key to the known hosts under its alias, and remove the @cert-authority line";
        let option = "HostKeyAlias with a @cert-authority line";
        return Err(settings.uncarried(option, remedy));
    }
    lines.push_str(&revoked(settings, &name).await?);
    Ok(without_repeats(&lines))
}

/// The files of known hosts that exist.
fn files(settings: &SshSettings) -> Result<Vec<PathBuf>, ExitProblem> {
    let mut files = Vec::new();
    for (setting, option) in [
        ("userknownhostsfile", "UserKnownHostsFile"),
        ("globalknownhostsfile", "GlobalKnownHostsFile"),
    ] {
        let words = settings.values(setting).flat_map(str::split_whitespace);
        for word in words.filter(|word| !word.eq_ignore_ascii_case("none")) {
            let file = settings.expanded(option, word)?;
            if file.exists() {
                files.push(file);
            } else if !word.starts_with(['/', '~', '%', '$']) {
                // `ssh -G` separates files by spaces and does not quote them.
                let remedy = "name a file without spaces in its path";
                return Err(settings.uncarried(&format!("a path with spaces in {option}"), remedy));
            }
        }
    }
    Ok(files)
}

/// The keys of `RevokedHostKeys`, as lines of known hosts.
async fn revoked(settings: &SshSettings, name: &str) -> Result<String, ExitProblem> {
    let path = settings.value("revokedhostkeys");
    if path.is_empty() {
        return Ok(String::new());
    }
    let text = text_of(&settings.expanded("RevokedHostKeys", path)?).await?;
    if text.starts_with("SSHKRL\n") {
        let remedy = "list the revoked keys as text, one in a line";
        return Err(settings.uncarried("a key revocation list (RevokedHostKeys)", remedy));
    }
    let keys = text.lines().map(str::trim);
    let keys = keys.filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(keys.map(|key| format!("@revoked {name} {key}\n")).collect())
}

async fn text_of(path: &Path) -> Result<String, ExitProblem> {
    let length = tokio::fs::metadata(path).await;
    let length = length.map_err(|error| unreadable(path, &error))?.len();
    if length > FILE_MAX {
        let error = std::io::Error::other(format!("it has more than {FILE_MAX} bytes"));
        return Err(unreadable(path, &error));
    }
    let bytes = tokio::fs::read(path).await;
    let bytes = bytes.map_err(|error| unreadable(path, &error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn without_repeats(lines: &str) -> String {
    let mut seen = std::collections::HashSet::new();
    let lines = lines.lines().filter(|line| seen.insert(*line));
    lines.map(|line| format!("{line}\n")).collect()
}
