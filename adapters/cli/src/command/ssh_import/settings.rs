//! The settings that `ssh` has for a host, as `ssh -G` prints them.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::algorithms;
use crate::exit::{Exit, ExitProblem};

/// A setting that decides which machine is reached or trusted, or how to log in, and that documents cannot
/// carry.
struct UncarriedSetting {
    /// Its name as `ssh -G` prints it.
    name: &'static str,
    /// Its name as `ssh_config(5)` has it.
    option: &'static str,
    remedy: &'static str,
}

const UNCARRIED: &[UncarriedSetting] = &[
    UncarriedSetting {
        name: "proxycommand",
        option: "ProxyCommand",
        remedy: "name the way by `ProxyJump` for this host in ~/.ssh/config",
    },
    UncarriedSetting {
        name: "certificatefile",
        option: "CertificateFile",
        remedy: "permit a plain key on the host, and set `CertificateFile none` and `IdentityFile` for it in ~/.ssh/config",
    },
    UncarriedSetting {
        name: "knownhostscommand",
        option: "KnownHostsCommand",
        remedy: "put the host's keys into a known hosts file, and set `KnownHostsCommand none` for it in ~/.ssh/config",
    },
    UncarriedSetting {
        name: "identityagent",
        option: "IdentityAgent",
        remedy: "set `IdentityAgent none` and `IdentityFile` for this host in ~/.ssh/config; or write documents without KEY and run vsiflow with that agent in SSH_AUTH_SOCK",
    },
    UncarriedSetting {
        name: "pkcs11provider",
        option: "PKCS11Provider",
        remedy: "set `PKCS11Provider none` and `IdentityFile` for this host in ~/.ssh/config",
    },
    UncarriedSetting {
        name: "securitykeyprovider",
        option: "SecurityKeyProvider",
        remedy: "set `SecurityKeyProvider internal`, and name a key without a security key by `IdentityFile`, for this host in ~/.ssh/config",
    },
    UncarriedSetting {
        name: "bindaddress",
        option: "BindAddress",
        remedy: "remove it for this host from ~/.ssh/config, and let this machine's routes choose the address",
    },
    UncarriedSetting {
        name: "addressfamily",
        option: "AddressFamily",
        remedy: "give the address of this host as `HostName` in ~/.ssh/config, and set `AddressFamily any`",
    },
    UncarriedSetting {
        name: "bindinterface",
        option: "BindInterface",
        remedy: "remove it for this host from ~/.ssh/config, and let this machine's routes choose the interface",
    },
];

/// The smallest RSA key that vsiflow takes of a host, in bits, as ssh does without `RequiredRSASize`.
const RSA_BITS_MIN: u32 = 1024;

/// What `ssh -G` prints for a host, with the usual configuration or with one file of it.
pub(super) async fn printed(
    host: &str,
    configuration: Option<&str>,
) -> Result<String, ExitProblem> {
    let problem = |why: String| {
        let message = format!("ssh's configuration cannot be read: {why}");
        let remedy = "see what `ssh -G HOST` says";
        ExitProblem::new(Exit::Failed, "VSI0814", message, remedy)
    };
    let mut command = Command::new("ssh");
    if let Some(file) = configuration {
        command.args(["-F", file]);
    }
    let answer = command.args(["-G", "--", host]).output().await;
    let answer = answer.map_err(|error| problem(error.to_string()))?;
    if !answer.status.success() {
        let said = String::from_utf8_lossy(&answer.stderr);
        return Err(problem(said.trim().to_owned()));
    }
    String::from_utf8(answer.stdout)
        .map_err(|_| problem("a setting of this host is not UTF-8".to_owned()))
}

/// The effective settings of a host.
pub(super) struct SshSettings {
    /// The host as the user names it.
    pub(super) called: String,
    text: String,
}

impl SshSettings {
    /// Asks `ssh` for its settings of a host.
    pub(super) async fn of(host: &str) -> Result<Self, ExitProblem> {
        let settings = Self::parse(host, printed(host, None).await?);
        settings.refuse_uncarried()?;
        algorithms::check(&settings).await?;
        Ok(settings)
    }

    /// The settings of a host, from what `ssh -G` printed.
    pub(super) fn parse(host: &str, text: String) -> Self {
        let called = host.to_owned();
        Self { called, text }
    }

    /// The values of a setting, in the order in which `ssh` uses them.
    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        let lines = self.text.lines().filter_map(|line| line.split_once(' '));
        lines
            .filter(move |(setting, _)| *setting == name)
            .map(|(_, value)| value)
    }

    /// The value of a setting; empty if it has none.
    pub(super) fn value(&self, name: &str) -> &str {
        let value = self.values(name).next().unwrap_or_default();
        if value.eq_ignore_ascii_case("none") {
            ""
        } else {
            value
        }
    }

    fn refuse_uncarried(&self) -> Result<(), ExitProblem> {
        let agent = std::env::var("SSH_AUTH_SOCK").unwrap_or_default();
        for setting in UNCARRIED {
            let value = self.value(setting.name);
            let is_default = match setting.name {
                "identityagent" => value == "SSH_AUTH_SOCK" || value == agent,
                "addressfamily" => value == "any",
                "securitykeyprovider" => ["internal", "$SSH_SK_PROVIDER"].contains(&value),
                _ => false,
            };
            if !value.is_empty() && !is_default {
                return Err(self.uncarried(setting.option, setting.remedy));
            }
        }
        let rsa_bits = self.value("requiredrsasize").parse::<u32>();
        if rsa_bits.is_ok_and(|bits| bits > RSA_BITS_MIN) {
            let remedy = format!(
                "let the host have a key of the type ed25519, and set `RequiredRSASize {RSA_BITS_MIN}` for it in \
                 ~/.ssh/config"
            );
            return Err(self.uncarried("RequiredRSASize", &remedy));
        }
        Ok(())
    }

    /// The error for a setting that documents cannot carry. Its value may be secret.
    pub(super) fn uncarried(&self, option: &str, remedy: &str) -> ExitProblem {
        let message = format!(
            "ssh uses {option} for {}, which the documents of a host cannot carry",
            self.called
        );
        ExitProblem::new(Exit::Failed, "VSI0814", message, remedy)
    }

    /// A path with its tokens (`ssh_config(5)`, TOKENS), variables and `~` replaced.
    pub(super) fn expanded(&self, option: &str, path: &str) -> Result<PathBuf, ExitProblem> {
        let replaced = replaced(path, |token| {
            Some(match token {
                '%' => "%".to_owned(),
                'd' => std::env::var("HOME").ok()?,
                'h' => self.value("hostname").to_owned(),
                'k' => match self.value("hostkeyalias") {
                    "" => self.value("hostname").to_owned(),
                    alias => alias.to_owned(),
                },
                'n' => self.called.clone(),
                'p' => self.value("port").to_owned(),
                'r' => self.value("user").to_owned(),
                'u' => std::env::var("USER").ok()?,
                _ => return None,
            })
        });
        let plain = replaced.ok_or_else(|| {
            let remedy = format!("give {option} for this host without tokens in ~/.ssh/config");
            self.uncarried(&format!("tokens in {option}"), &remedy)
        })?;
        if plain.starts_with('~') && !plain.starts_with("~/") {
            let remedy = format!("write the whole path as {option} of this host in ~/.ssh/config");
            let what = format!("a path in the home of a user that it names in {option}");
            return Err(self.uncarried(&what, &remedy));
        }
        Ok(at_home(&plain))
    }
}

/// Replaces `%x` and `${NAME}`; `None` if one of them is unknown.
fn replaced(path: &str, token: impl Fn(char) -> Option<String>) -> Option<String> {
    let mut text = String::new();
    let mut rest = path.chars();
    while let Some(character) = rest.next() {
        match character {
            '%' => text.push_str(&token(rest.next()?)?),
            '$' if rest.as_str().starts_with('{') => {
                let (name, after) = rest.as_str().get(1..)?.split_once('}')?;
                text.push_str(&std::env::var(name).ok()?);
                rest = after.chars();
            }
            _ => text.push(character),
        }
    }
    Some(text)
}

fn at_home(file: &str) -> PathBuf {
    match (file.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => PathBuf::from(file),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> SshSettings {
        SshSettings::parse("lpar", text.to_owned())
    }

    #[test]
    fn what_decides_trust_or_route_is_refused_by_its_name() {
        for UncarriedSetting { name, option, .. } in UNCARRIED {
            let refused = settings(&format!("host lpar\n{name} secret-value\n"))
                .refuse_uncarried()
                .unwrap_err()
                .message;
            assert!(refused.contains(option), "{refused}");
            assert!(!refused.contains("secret-value"), "{refused}");
            let none = settings(&format!("{name} none\n"));
            assert!(none.refuse_uncarried().is_ok(), "{name}");
        }
        let default = settings("identityagent SSH_AUTH_SOCK\n");
        assert!(default.refuse_uncarried().is_ok());
        for internal in ["internal", "$SSH_SK_PROVIDER"] {
            let built_in = settings(&format!("securitykeyprovider {internal}\n"));
            assert!(built_in.refuse_uncarried().is_ok());
        }
        let larger = settings("requiredrsasize 3072\n");
        let refused = larger.refuse_uncarried().unwrap_err().message;
        assert!(refused.contains("RequiredRSASize"), "{refused}");
        let usual = settings("requiredrsasize 1024\n");
        assert!(usual.refuse_uncarried().is_ok());
        let unset = settings("addressfamily any\n");
        assert!(unset.refuse_uncarried().is_ok());
        let set = settings("addressfamily inet6\n");
        assert!(set.refuse_uncarried().is_err());
    }

    #[test]
    fn tokens_of_paths_are_replaced_or_refused() {
        let settings = settings("user me\nhostname 10.0.0.7\nport 2222\nhostkeyalias alias\n");
        let expanded = |path: &str| settings.expanded("IdentityFile", path);
        let path = expanded("/k/%r@%h:%p-%k-%n%%").unwrap();
        assert_eq!(path, Path::new("/k/me@10.0.0.7:2222-alias-lpar%"));
        for unknown in ["/k/%C", "/k/%", "/k/${VSIFLOW_NO_SUCH_NAME}", "/k/${x"] {
            let refused = expanded(unknown).unwrap_err().message;
            assert!(refused.contains("IdentityFile"), "{refused}");
        }
        for other in ["~root/.ssh/id_ed25519", "~%r/id"] {
            let refused = expanded(other).unwrap_err().message;
            assert!(refused.contains("the home of a user"), "{refused}");
        }
    }
}
