//! Access to a guest with the user's own `ssh`: through its host, with the guest's key pinned if it is known.
//!
//! Names, addresses and keys come from tenants, hosts and guests. They reach a command line or a
//! configuration of `ssh` only if they have the expected form.

pub(crate) mod config;
pub(crate) mod host_keys;
pub(crate) mod keeper;

use std::net::IpAddr;

use serde_json::Value;

use crate::exit::{Exit, ExitProblem};

/// How a guest is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SshTarget {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) address: IpAddr,
    /// `USER@HOST:PORT` of each intermediate host, separated by commas, as in `ProxyJump`; `None` if the
    /// guest's host is this machine.
    pub(crate) jump: Option<String>,
}

impl SshTarget {
    /// The target for a VSI, from the output of `get -o json`.
    ///
    /// # Errors
    /// `VSI0813` if it has no address, or its host is simulated.
    pub(crate) fn of(object: &Value) -> Result<Self, ExitProblem> {
        let text = |pointer: &str| {
            object
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or("")
        };
        let (name, host) = (text("/metadata/name"), text("/status/host"));
        let no_way = |why: &str, remedy: &str| {
            let message = format!("{name} cannot be reached: {why}");
            Err(ExitProblem::new(Exit::Blocked, "VSI0813", message, remedy))
        };
        let words = [name, text("/metadata/namespace"), text("/metadata/uid")];
        if !words.into_iter().all(is_name) {
            return no_way(
                "its name, namespace or UID has not the form of one",
                "see that the daemon is the one that you mean",
            );
        }
        let jumps = object
            .pointer("/status/hostJumps")
            .and_then(Value::as_array);
        let jumps = jumps.into_iter().flatten();
        let jumps = jumps.map(|jump| jump.as_str().unwrap_or_default());
        let Some(jump) = way(jumps, host) else {
            return no_way(
                "its host is simulated or not known",
                "`vsiflow get host` lists the hosts",
            );
        };
        let addresses = object
            .pointer("/status/ipAddresses")
            .and_then(Value::as_array);
        let Some(address) = best(addresses.into_iter().flatten()) else {
            let remedy = "see `vsiflow describe` whether it runs, then `vsiflow get --refresh`";
            return no_way("no address of it is known", remedy);
        };
        Ok(Self {
            namespace: text("/metadata/namespace").to_owned(),
            name: name.to_owned(),
            uid: text("/metadata/uid").to_owned(),
            address,
            jump,
        })
    }

    /// The name under which its key is stored: unique to this VSI, whatever its address.
    pub(crate) fn key_alias(&self) -> String {
        format!("vsiflow-{}", self.uid)
    }

    /// The options for `ssh`, on a command line or in a file.
    pub(crate) fn options(&self) -> Vec<(&'static str, String)> {
        let mut options = vec![
            ("HostName", self.address.to_string()),
            ("HostKeyAlias", self.key_alias()),
        ];
        if let Some(jump) = &self.jump {
            options.push(("ProxyJump", jump.clone()));
        }
        options
    }
}

/// Whether a text has the form of a name: it is no option, and one word in a configuration.
fn is_name(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ['.', '-', '_'].contains(&c);
    !text.is_empty() && !text.starts_with(['-', '.']) && text.chars().all(is_plain)
}

/// The intermediate hosts: `None` if one has an invalid form, and `Some(None)` if there are none.
#[expect(
    clippy::option_option,
    reason = "no way, no jump, and a jump are three"
)]
fn way<'v>(jumps: impl Iterator<Item = &'v str>, host: &'v str) -> Option<Option<String>> {
    if host.starts_with("unix:") {
        return Some(None);
    }
    let all = jumps.chain([host]).map(jump).collect::<Option<Vec<_>>>()?;
    Some(Some(all.join(",")))
}

/// An intermediate host, if it has the expected form.
fn jump(host: &str) -> Option<&str> {
    let (user, at) = host.split_once('@')?;
    let is_plain =
        |c: char| c.is_ascii_alphanumeric() || ['.', '-', '_', ':', '[', ']'].contains(&c);
    let plain =
        |text: &str| !text.is_empty() && !text.starts_with('-') && text.chars().all(is_plain);
    (plain(user) && plain(at)).then_some(host)
}

/// The first IPv4 address, or else the first address: guests often have an IPv6 address that is valid on
/// their link only.
fn best<'v>(addresses: impl Iterator<Item = &'v Value>) -> Option<IpAddr> {
    let all: Vec<IpAddr> = addresses
        .filter_map(Value::as_str)
        .filter_map(|text| text.parse().ok())
        .filter(|address: &IpAddr| !address.is_loopback() && !address.is_unspecified())
        .collect();
    let four = all.iter().find(|address| address.is_ipv4());
    four.or(all.first()).copied()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(host: &str, addresses: &[&str]) -> Value {
        json!({
            "metadata": {"name": "web", "namespace": "default", "uid": "u-1"},
            "status": {"host": host, "ipAddresses": addresses},
        })
    }

    #[test]
    fn a_guest_is_reached_through_its_host() {
        let target = SshTarget::of(&object("root@10.0.0.1:2222", &["fe80::1", "192.168.122.7"]));
        let target = target.unwrap();
        assert_eq!(
            target.options(),
            [
                ("HostName", "192.168.122.7".to_owned()),
                ("HostKeyAlias", "vsiflow-u-1".to_owned()),
                ("ProxyJump", "root@10.0.0.1:2222".to_owned()),
            ]
        );
        let mut behind = object("root@10.0.0.1:2222", &["192.168.122.7"]);
        behind["status"]["hostJumps"] = json!(["me@bastion:22", "root@[fd00::1]:2222"]);
        let behind = SshTarget::of(&behind).unwrap();
        assert_eq!(
            behind.jump.as_deref(),
            Some("me@bastion:22,root@[fd00::1]:2222,root@10.0.0.1:2222")
        );
        let here = SshTarget::of(&object("unix:/run/libvirt/libvirt-sock", &["10.1.1.1"])).unwrap();
        assert_eq!(here.jump, None);
    }

    #[test]
    fn nothing_of_a_strangers_reaches_ssh_in_another_form() {
        for (host, addresses) in [
            ("root@10.0.0.1:22 -oProxyCommand=x", &["10.1.1.1"][..]),
            ("-oProxyCommand=x@h", &["10.1.1.1"]),
            ("root@-oProxyCommand=x", &["10.1.1.1"]),
            ("root@h\nProxyCommand x", &["10.1.1.1"]),
            ("sim", &["10.1.1.1"]),
            ("", &["10.1.1.1"]),
            ("root@h:22", &["10.1.1.1\nProxyCommand x"]),
            ("root@h:22", &["-oProxyCommand=x"]),
            ("root@h:22", &["127.0.0.1", "::1"]),
            ("root@h:22", &[]),
        ] {
            let refused = SshTarget::of(&object(host, addresses)).unwrap_err();
            assert_eq!(refused.code, "VSI0813", "{host} {addresses:?}");
        }
        for (field, wrong) in [
            ("name", "-oProxyCommand=x"),
            ("name", "web\nProxyCommand x"),
            ("name", ""),
            ("namespace", "a b"),
            ("uid", "u\" x"),
        ] {
            let mut object = object("root@h:22", &["10.1.1.1"]);
            object["metadata"][field] = json!(wrong);
            assert!(SshTarget::of(&object).is_err(), "{wrong}");
        }
        for jump in [
            json!("a,b@h:22"),
            json!("root@h -oX=y"),
            json!(""),
            json!(7),
        ] {
            let mut object = object("root@h:22", &["10.1.1.1"]);
            object["status"]["hostJumps"] = json!([jump]);
            assert!(SshTarget::of(&object).is_err(), "{jump}");
        }
    }
}
