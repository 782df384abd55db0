//! The lab's host behind SSH jump hosts, at an address that only they reach.

use std::fmt::{self, Write as _};

use crate::{Host, Lab, lab::SSH_PORT};

/// A jump host.
#[derive(Clone, Debug)]
pub struct Jump {
    /// `USER@HOST:PORT`.
    pub address: String,
    /// The text of the private key. No other jump host accepts it.
    pub key: String,
}

/// The documents of a host behind jump hosts.
#[derive(Clone, Debug)]
pub struct HostBehind {
    /// The host.
    pub host: Host,
    /// The jump hosts, the first one first.
    pub jumps: Vec<Jump>,
    /// The text of a `known_hosts` file with all jump hosts.
    pub known_hosts: String,
}

impl Lab {
    /// The host behind one jump host.
    pub fn behind_one(&self) -> HostBehind {
        self.behind("10.98.2.2", &[("jump1", "10.98.1.2")])
    }

    /// The host behind two jump hosts.
    pub fn behind_two(&self) -> HostBehind {
        let both = [("jump1", "10.98.1.2"), ("jump2", "10.98.3.2")];
        self.behind("10.98.4.2", &both)
    }

    fn behind(&self, hostname: &str, jumps: &[(&str, &str)]) -> HostBehind {
        let jumps = jumps.iter().map(|(name, address)| Jump {
            address: format!("root@{address}:{SSH_PORT}"),
            key: self.ssh_file(&format!("id_{name}")),
        });
        HostBehind {
            host: Host {
                hostname: hostname.to_owned(),
                known_hosts: self.ssh_file("known_hosts_hidden"),
                ..self.host()
            },
            jumps: jumps.collect(),
            known_hosts: self.ssh_file("known_hosts_jumps"),
        }
    }

    /// A `known_hosts` line for the authority that signed the second jump host's certificate.
    pub fn jump_authority(&self, names: &str) -> String {
        format!("@cert-authority {names} {}", self.ssh_file("ca_hosts.pub"))
    }
}

impl HostBehind {
    /// The host's ID.
    pub fn id(&self) -> String {
        format!("root@{}:{}", self.host.hostname, self.host.port)
    }

    /// The value of `PROXY_JUMP`, in the format that `ssh -J` accepts.
    pub fn proxy_jump(&self) -> String {
        let all: Vec<_> = self.jumps.iter().map(|jump| &*jump.address).collect();
        all.join(",")
    }
}

impl fmt::Display for HostBehind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut keys = format!("stringData:\n  PROXY_JUMP: \"{}\"\n", self.proxy_jump());
        let mut add = |name: &str, text: &str| {
            let _ = writeln!(keys, "  {name}: |");
            for line in text.lines() {
                let _ = writeln!(keys, "    {line}");
            }
        };
        add("PROXY_JUMP_KNOWN_HOSTS", &self.known_hosts);
        match &self.jumps[..] {
            [one] => add("PROXY_JUMP_KEY", &one.key),
            all => {
                for (number, jump) in (1..).zip(all) {
                    add(&format!("PROXY_JUMP_{number}_KEY"), &jump.key);
                }
            }
        }
        let host = self.host.to_string();
        f.write_str(&host.replacen("stringData:\n", &keys, 1))
    }
}
