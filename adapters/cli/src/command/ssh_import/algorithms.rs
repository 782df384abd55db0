//! The algorithms that the user's configuration forbids for a host. Which ones ssh or the system's configuration
//! forbids is no decision about the host.

use std::{collections::BTreeSet, path::Path};

use super::settings::{SshSettings, printed};
use crate::{exit::ExitProblem, output};

const SYSTEM: &str = "/etc/ssh/ssh_config";

/// The settings that list algorithms of keys: their names as `ssh -G` prints them and as `ssh_config(5)` has them.
const LISTS: [(&str, &str); 2] = [
    ("hostkeyalgorithms", "HostKeyAlgorithms"),
    ("casignaturealgorithms", "CASignatureAlgorithms"),
];

/// Refuses settings that trust fewer keys than ssh does without them, and warns of those that trust more.
pub(super) async fn check(settings: &SshSettings) -> Result<(), ExitProblem> {
    let system = if Path::new(SYSTEM).exists() {
        SYSTEM
    } else {
        "none"
    };
    let text = printed(&settings.called, Some(system)).await?;
    compare(settings, &SshSettings::parse(&settings.called, text))
}

fn compare(settings: &SshSettings, default: &SshSettings) -> Result<(), ExitProblem> {
    for (name, option) in LISTS {
        let (used, usual) = (names(settings.value(name)), names(default.value(name)));
        if !usual.is_subset(&used) {
            let remedy = "leave only keys that it permits in the known hosts of this host, and remove the setting \
                          from ~/.ssh/config";
            return Err(settings.uncarried(option, remedy));
        }
        if used != usual {
            output::warning(&format!(
                "{option} of {} is not carried over: vsiflow knows only the algorithms that it has",
                settings.called
            ));
        }
    }
    Ok(())
}

fn names(list: &str) -> BTreeSet<&str> {
    list.split(',').filter(|name| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_trusts_fewer_keys_is_refused_by_its_name() {
        let settings = |text: &str| SshSettings::parse("lpar", text.to_owned());
        for (name, option) in LISTS {
            let default = settings(&format!("{name} ssh-ed25519,rsa-sha2-512\n"));
            let narrow = settings(&format!("{name} ssh-ed25519\n"));
            let refused = compare(&narrow, &default).unwrap_err().message;
            assert!(refused.contains(option), "{refused}");
            for taken in [
                "ssh-ed25519,rsa-sha2-512",
                "rsa-sha2-512,ssh-ed25519,ssh-rsa",
            ] {
                let taken = settings(&format!("{name} {taken}\n"));
                assert!(compare(&taken, &default).is_ok());
            }
        }
    }
}
