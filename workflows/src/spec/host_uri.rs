//! Parses host settings from a URI on a command line.

use std::str::FromStr;

use url::Url;

use super::host::{
    DEFAULT_PORT, DEFAULT_SOCKET, DEFAULT_USER, HostConnection, HostSettings, JumpHost, SshHost,
    Transfer, Verification,
};
use super::image_policy::ImagePolicy;

/// Error: the text does not name a host. The message never repeats a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({remedy})")]
pub struct HostUriError {
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: &'static str,
}

/// The forms of a host URI, for remedies.
const FORMS: &str = "write ssh://user@host:port?keyfile=PATH&known_hosts=PATH, jump=user@host:port through another host, unix:/path/of/socket, \
                     unix: for this machine, or sim: for the simulated host";

impl HostUriError {
    fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            remedy: FORMS,
        }
    }
}

impl FromStr for HostSettings {
    type Err = HostUriError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let (scheme, rest) = text.split_once(':').unwrap_or((text, ""));
        let record = match scheme {
            "sim" => sim(rest)?,
            "unix" if text.contains(':') => unix(rest)?,
            "ssh" => ssh(text)?,
            "qemu+ssh" | "qemu+libssh" | "qemu+libssh2" | "qemu" => {
                return Err(HostUriError::new("libvirt's own URIs are not read here"));
            }
            _ => return Err(HostUriError::new("this names no host")),
        };
        Ok(record.into())
    }
}

fn sim(rest: &str) -> Result<HostConnection, HostUriError> {
    let (rest, image_policy) = with_policy(rest)?;
    let name = rest.trim_start_matches('/');
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.starts_with('.') || !name.chars().all(plain) {
        return Err(HostUriError::new(
            "a simulated host's name holds letters, digits, `-`, `_` and `.` only",
        ));
    }
    Ok(HostConnection::Sim {
        name: (!name.is_empty()).then(|| name.to_owned()),
        upload_limit: None,
        image_policy,
    })
}

/// Splits off the image policy, the only option of a URI without a server.
fn with_policy(rest: &str) -> Result<(&str, Option<ImagePolicy>), HostUriError> {
    match rest.split_once("?image_policy=") {
        Some((rest, policy)) => Ok((rest, Some(image_policy(policy)?))),
        None => Ok((rest, None)),
    }
}

fn image_policy(text: &str) -> Result<ImagePolicy, HostUriError> {
    let policy = text.parse();
    policy.map_err(|why: String| HostUriError::new(format!("?image_policy=: {why}")))
}

fn unix(rest: &str) -> Result<HostConnection, HostUriError> {
    let (rest, image_policy) = with_policy(rest)?;
    let path = match rest.strip_prefix("//") {
        Some(path) => path,
        None => rest,
    };
    match path {
        "" => Ok(HostConnection::Unix {
            socket: DEFAULT_SOCKET.to_owned(),
            upload_limit: None,
            image_policy,
        }),
        path if path.starts_with('/') => Ok(HostConnection::Unix {
            socket: path.to_owned(),
            upload_limit: None,
            image_policy,
        }),
        _ => Err(HostUriError::new(
            "the socket of a unix: URI is an absolute path",
        )),
    }
}

fn ssh(text: &str) -> Result<HostConnection, HostUriError> {
    let url = Url::parse(text).map_err(|error| HostUriError::new(error.to_string()))?;
    if url.password().is_some() {
        return Err(HostUriError::new(
            "passwords are not used; log in with a key",
        ));
    }
    if !matches!(url.path(), "" | "/") {
        return Err(HostUriError::new(
            "an ssh: URI has no path; the socket is ?socket=PATH",
        ));
    }
    let host = url.host_str().unwrap_or_default();
    let mut ssh = SshHost {
        host: host.trim_matches(['[', ']']).to_owned(),
        port: url.port().unwrap_or(DEFAULT_PORT),
        user: if url.username().is_empty() {
            DEFAULT_USER
        } else {
            url.username()
        }
        .to_owned(),
        key_file: None,
        known_hosts: None,
        known_hosts_file: None,
        insecure_skip_host_key: false,
        socket: None,
        upload_limit: None,
        image_policy: None,
        verify: Verification::Along,
        transfer: Transfer::Auto,
        images: None,
        jumps: Vec::new(),
    };
    for (key, value) in url.query_pairs() {
        set(&mut ssh, &key, value.into_owned())?;
    }
    ssh.check()
        .map_err(|(key, message)| complain(key, message))?;
    Ok(HostConnection::Ssh(ssh))
}

fn set(ssh: &mut SshHost, key: &str, value: String) -> Result<(), HostUriError> {
    if value.is_empty() {
        return Err(HostUriError::new(format!("?{key}= is empty")));
    }
    match (key, value.as_str()) {
        ("keyfile", _) => ssh.key_file = Some(value),
        ("known_hosts", _) => ssh.known_hosts_file = Some(value),
        ("socket", _) => ssh.socket = Some(value),
        ("image_policy", text) => ssh.image_policy = Some(image_policy(text)?),
        ("jump", text) => {
            let jump = JumpHost::parse(text);
            ssh.jumps
                .push(jump.map_err(|why| HostUriError::new(format!("?jump={text}: {why}")))?);
            JumpHost::check_count(ssh.jumps.len()).map_err(HostUriError::new)?;
        }
        ("jump_keyfile", _) => last_jump(ssh, key)?.key_file = Some(value),
        ("jump_known_hosts", _) => last_jump(ssh, key)?.known_hosts_file = Some(value),
        ("insecure", "1" | "true") => ssh.insecure_skip_host_key = true,
        ("insecure", "0" | "false") => ssh.insecure_skip_host_key = false,
        ("insecure", _) => return Err(HostUriError::new("?insecure= is 1 or 0")),
        _ => {
            return Err(HostUriError::new(format!(
                "?{key}= is not known; there are keyfile, known_hosts, insecure, socket, \
                 image_policy, jump, jump_keyfile and jump_known_hosts"
            )));
        }
    }
    Ok(())
}

/// The jump host that was named last, to which the following options apply.
fn last_jump<'s>(ssh: &'s mut SshHost, key: &str) -> Result<&'s mut JumpHost, HostUriError> {
    let none = || HostUriError::new(format!("?{key}= follows the jump= that it is for"));
    ssh.jumps.last_mut().ok_or_else(none)
}

fn complain(key: &str, message: &str) -> HostUriError {
    let remedy = match key {
        "KNOWN_HOSTS" => "add ?known_hosts=PATH; insecure=1 connects to anybody",
        _ => FORMS,
    };
    HostUriError {
        message: message.to_owned(),
        remedy,
    }
}
