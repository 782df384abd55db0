//! Known hosts: the keys that an SSH server may present (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT").
//!
//! Supports hashed names (`|1|…`), lists, wildcards and negation, `[host]:port`, `@revoked` and
//! `@cert-authority`. It trusts what OpenSSH trusts. It is stricter where trust is taken away: OpenSSH skips a line
//! that it cannot read, and with it a revocation; here, such a line that names the host refuses the host, and
//! `[host]:22` names the host, too.

mod certificate;
mod line;

use russh::keys::{Algorithm, HashAlg, PublicKey};

use self::line::{KeyMarker, LineMeaning, LineParts, ListedKey, glob};
use crate::connect_error::ConnectError;

/// The known-hosts entries of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownHost {
    host: String,
    /// The host's name without a port, as certificates contain it.
    name: String,
    /// What the lines for the host and its port say.
    listed: HostLines,
    /// With a port other than 22: what the lines for the bare name say.
    bare: Option<HostLines>,
}

/// What the lines for one name say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct HostLines {
    known: Vec<ListedKey>,
    revoked: Vec<PublicKey>,
    authorities: Vec<PublicKey>,
    /// The number of the first line that cannot be read, and the reason.
    unreadable: Option<UnreadableLine>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct UnreadableLine {
    number: usize,
    reason: &'static str,
}

impl HostLines {
    fn of(text: &str, name: &str) -> Self {
        let mut lines = Self::default();
        for (number, line) in (1..).zip(known_lines(text)) {
            if is_several(line) {
                let reason = "it has a carriage return within it; end each line with a line feed";
                let unreadable = UnreadableLine { number, reason };
                lines.unreadable.get_or_insert(unreadable);
                continue;
            }
            let Some(parts) = LineParts::of(line) else {
                continue;
            };
            match parts.meaning(name) {
                LineMeaning::Nothing => {}
                LineMeaning::Unreadable(reason) => {
                    let unreadable = UnreadableLine { number, reason };
                    lines.unreadable.get_or_insert(unreadable);
                }
                LineMeaning::Key { marker, listed } => lines.add(marker, listed),
            }
        }
        lines
    }

    fn add(&mut self, marker: KeyMarker, listed: ListedKey) {
        match marker {
            KeyMarker::None => self.known.push(listed),
            KeyMarker::Authority => self.authorities.push(listed.key),
            KeyMarker::Revoked | KeyMarker::Unknown => self.revoked.push(listed.key),
        }
    }

    /// Refuses a key that is revoked, and any key if a line cannot be read: it may revoke this one.
    fn refuse_distrusted(&self, host: &str, key: &PublicKey) -> Result<(), ConnectError> {
        if let Some(UnreadableLine { number, reason }) = &self.unreadable {
            return Err(ConnectError::KnownHosts(format!(
                "line {number} is about {host} and cannot be read: {reason}"
            )));
        }
        if self.revokes(key) {
            return Err(ConnectError::HostKeyRevoked {
                host: host.to_owned(),
                algorithm: key.algorithm().to_string(),
                fingerprint: fingerprint(key),
            });
        }
        Ok(())
    }

    fn revokes(&self, key: &PublicKey) -> bool {
        let is_shown = |revoked: &PublicKey| revoked.key_data() == key.key_data();
        self.revoked.iter().any(is_shown)
    }

    fn lists(&self, key: &PublicKey) -> bool {
        let is_shown =
            |known: &ListedKey| !known.is_certificate && known.key.key_data() == key.key_data();
        self.known.iter().any(is_shown)
    }
}

impl KnownHost {
    /// Finds a host's lines in a known-hosts text.
    ///
    /// With a port other than 22, lines for `[host]:port` are used; if none of them lists a key of the host
    /// itself (lines with markers do not count), those for the bare host, as in OpenSSH.
    #[must_use]
    pub fn find(text: &str, host: &str, port: u16) -> Self {
        let (host_and_port, name) = (host_name(host, port), host_name(host, 22));
        Self {
            listed: HostLines::of(text, &host_and_port),
            bare: (port != 22).then(|| HostLines::of(text, &name)),
            host: host_and_port,
            name,
        }
    }

    /// The lines whose keys count: those for the bare host if the others list none.
    fn effective(&self) -> &HostLines {
        match &self.bare {
            Some(bare) if self.listed.known.is_empty() => bare,
            _ => &self.listed,
        }
    }

    /// The algorithms of the known keys, so that the server is asked for one of these.
    #[must_use]
    pub fn algorithms(&self) -> Vec<Algorithm> {
        let listed_keys = self.effective().known.iter();
        listed_keys.map(|listed| listed.key.algorithm()).collect()
    }

    /// Whether there is any key by which a server can show that it is the host: its own or that of an authority,
    /// and not revoked.
    #[must_use]
    pub fn trusts_any(&self) -> bool {
        let lines = self.effective();
        let is_own = |listed: &&ListedKey| !listed.is_certificate;
        let host_keys = lines.known.iter().filter(is_own).map(|listed| &listed.key);
        let of_bare = self.bare.iter().flat_map(|bare| &bare.authorities);
        host_keys
            .chain(&self.listed.authorities)
            .chain(of_bare)
            .any(|key| !self.listed.revokes(key) && !lines.revokes(key))
    }

    /// Whether a server that presents this key is the host.
    ///
    /// # Errors
    /// The key is unknown, another key is known, the key is revoked, or a line about the host cannot be read.
    pub fn check(&self, key: &PublicKey) -> Result<(), ConnectError> {
        let (host, algorithm, fingerprint) = (
            self.host.clone(),
            key.algorithm().to_string(),
            fingerprint(key),
        );
        let lines = self.effective();
        self.listed.refuse_distrusted(&self.host, key)?;
        lines.refuse_distrusted(&self.name, key)?;
        if lines.lists(key) {
            return Ok(());
        }
        if !lines.known.is_empty() {
            let described = lines.known.iter().map(|listed| describe(&listed.key));
            return Err(ConnectError::HostKeyChanged {
                host,
                algorithm,
                fingerprint,
                known: described.collect(),
            });
        }
        if self.has_authorities() {
            return Err(ConnectError::KnownHosts(format!(
                "{host} is named by @cert-authority lines only and shows no certificate; give it one \
                 (HostCertificate in its sshd_config), or add its own key, {algorithm} {fingerprint}"
            )));
        }
        Err(ConnectError::HostKeyUnknown {
            host,
            algorithm,
            fingerprint,
        })
    }
}

/// The lines of a known-hosts text that name a host, for example to copy them. With `rename`, they name that
/// host instead. A line that cannot be read is among them.
#[must_use]
pub fn lines_naming(text: &str, name: &str, rename: Option<&str>) -> String {
    let lower = name.to_lowercase();
    let mut copied = String::new();
    for line in known_lines(text) {
        if is_several(line) {
            copied.push_str(line.trim());
            copied.push('\n');
            continue;
        }
        let Some(parts) = LineParts::of(line) else {
            continue;
        };
        if parts.meaning(&lower) == LineMeaning::Nothing {
            continue;
        }
        match rename {
            None => copied.push_str(line.trim()),
            Some(new_name) => copied.push_str(&parts.renamed(new_name)),
        }
        copied.push('\n');
    }
    copied
}

/// The lines of a text, without a byte order mark.
fn known_lines(text: &str) -> impl Iterator<Item = &str> {
    text.strip_prefix('\u{feff}').unwrap_or(text).lines()
}

/// Whether a line looks like several, as in a text whose lines end with carriage returns only. OpenSSH takes it for one line,
/// and what its rest takes trust from would be lost.
fn is_several(line: &str) -> bool {
    line.trim_end_matches('\r').contains('\r')
}

/// `ALGORITHM SHA256:…` of a key.
pub(crate) fn describe(key: &PublicKey) -> String {
    format!("{} {}", key.algorithm(), fingerprint(key))
}

fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// The host's name as known hosts spell it.
#[must_use]
pub fn host_name(host: &str, port: u16) -> String {
    let lower = host.to_lowercase();
    if port == 22 {
        lower
    } else {
        format!("[{lower}]:{port}")
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod openssh_tests;
#[cfg(test)]
mod tests;
