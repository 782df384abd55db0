//! The outermost keys of a cloud-config. cloud-init ignores one that no module of it reads.
//! <https://docs.cloud-init.io/en/latest/reference/modules.html>.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;

use super::{InputProblem, misspelling::is_misspelling, read_yaml};

/// The keys that modules of cloud-init read and that people write.
const KEYS: [&str; 62] = [
    "allow_public_ssh_keys",
    "ansible",
    "apk_repos",
    "apt",
    "bootcmd",
    "byobu_by_default",
    "ca_certs",
    "chef",
    "chpasswd",
    "create_hostname_file",
    "datasource",
    "device_aliases",
    "disable_ec2_metadata",
    "disable_root",
    "disable_root_opts",
    "disk_setup",
    "drivers",
    "fan",
    "final_message",
    "fqdn",
    "fs_setup",
    "groups",
    "growpart",
    "grub_dpkg",
    "hostname",
    "keyboard",
    "landscape",
    "locale",
    "locale_configfile",
    "lxd",
    "manage_etc_hosts",
    "manage_resolv_conf",
    "merge_how",
    "mounts",
    "network",
    "ntp",
    "output",
    "package_update",
    "package_upgrade",
    "package_reboot_if_required",
    "packages",
    "password",
    "phone_home",
    "power_state",
    "prefer_fqdn_over_hostname",
    "preserve_hostname",
    "puppet",
    "random_seed",
    "resize_rootfs",
    "resolv_conf",
    "rsyslog",
    "runcmd",
    "salt_minion",
    "snap",
    "ssh_authorized_keys",
    "ssh_deletekeys",
    "ssh_pwauth",
    "swap",
    "timezone",
    "users",
    "write_files",
    "yum_repos",
];
/// Keys that resemble one of those and are read, too.
const RESEMBLING: [&str; 1] = ["user"];

/// How many keys are compared.
const KEYS_MAX: usize = 256;

/// A doubt about a key that is none of cloud-init's and resembles one. Other keys are meant for programs in the image.
pub(super) fn check(text: &str) -> Option<InputProblem> {
    let keys: BTreeMap<String, IgnoredAny> = read_yaml(text).ok()?;
    let is_known = |key: &str| {
        let plain = key.replace('-', "_");
        KEYS.contains(&plain.as_str()) || RESEMBLING.contains(&key)
    };
    let mut unknown = keys.keys().take(KEYS_MAX).filter(|key| !is_known(key));
    let (key, meant) = unknown.find_map(|key| {
        let plain = key.replace('-', "_");
        let mut known = KEYS.iter();
        let meant = known.find(|known| is_misspelling(&plain, &known.replace('_', "-")))?;
        Some((key, meant))
    })?;
    let is_word = |c: char| c.is_ascii_alphanumeric() || ['-', '_'].contains(&c);
    let key = if key.chars().all(is_word) { key } else { "…" };
    Some(InputProblem {
        is_doubt: true,
        ..InputProblem::new(
            format!("cloud-init does not know its key `{key}`; is `{meant}` meant?"),
            "correct the key; `cloud-init schema --config-file FILE` checks it",
        )
    })
}
