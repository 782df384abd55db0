//! The outermost keys of a cloud-config. cloud-init ignores one that no module of it reads, and ends a module whose
//! value has another shape.
//! <https://docs.cloud-init.io/en/latest/reference/modules.html>.

use serde_json::{Map, Value};

use super::{
    InputProblem, config_access, config_files, merging, misspelling::is_misspelling, read_yaml,
};

/// The keys that modules of cloud-init read and that people write.
const KEYS: [&str; 63] = [
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
    "merge_type",
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
/// Keys that resemble one of those and are read, too. Of those with dashes cloud-init reads these alone.
const RESEMBLING: [&str; 4] = ["ca-certs", "grub-dpkg", "ubuntu-advantage", "user"];

/// How many keys are compared.
const KEYS_MAX: usize = 256;

/// The keys of lists. cloud-init's module ends with an error at anything else.
const LISTS: [&str; 5] = [
    "bootcmd",
    "mounts",
    "runcmd",
    "ssh_authorized_keys",
    "write_files",
];
/// Those whose entries are commands: lines of a shell, or lists of words.
const COMMANDS: [&str; 2] = ["bootcmd", "runcmd"];

/// The problem of a value that its module cannot take, or a doubt about a key.
pub(super) fn check(text: &str) -> Option<InputProblem> {
    let config: Map<String, Value> = read_yaml(text).ok()?;
    wrong_list(&config)
        .or_else(|| wrong_command(&config))
        .or_else(|| merging::check(&config))
        .or_else(|| config_files::check(&config))
        .or_else(|| config_access::check(&config))
        .or_else(|| resembling(&config))
        .or_else(|| config_files::unknown_encoding(&config))
        .or_else(|| network(&config))
        .or_else(|| config_access::obsolete_key(&config))
}

/// Whether cloud-init reads this key.
pub(super) fn is_key(key: &str) -> bool {
    KEYS.contains(&key) || RESEMBLING.contains(&key)
}

/// A doubt about a network configuration: cloud-init reads it from its own file alone, but may pass the key to a
/// program in the image.
fn network(config: &Map<String, Value>) -> Option<InputProblem> {
    config.contains_key("network").then(|| InputProblem {
        is_doubt: true,
        ..InputProblem::new(
            "cloud-init ignores the key `network` here",
            "move it to `guest.networkConfig`",
        )
    })
}

fn wrong_list(config: &Map<String, Value>) -> Option<InputProblem> {
    let is_list = |value: &Value| value.is_array() || value.is_null();
    let is_wrong = |key: &&&str| config.get(**key).is_some_and(|value| !is_list(value));
    let key = LISTS.iter().find(is_wrong)?;
    let message = format!("its `{key}` is not a list");
    Some(InputProblem::new(message, "write `- ` before each entry"))
}

fn wrong_command(config: &Map<String, Value>) -> Option<InputProblem> {
    COMMANDS.iter().find_map(|key| {
        let is_wrong =
            |command: &Value| !(command.is_string() || command.is_array() || command.is_null());
        let index = config.get(*key)?.as_array()?.iter().position(is_wrong)?;
        let number = index.saturating_add(1);
        let message =
            format!("entry {number} of its `{key}` is neither a text nor a list of words");
        let remedy =
            "put the command into quotation marks: a colon and a space in it make a mapping of it";
        Some(InputProblem::new(message, remedy))
    })
}

/// A doubt about a key that is none of cloud-init's and resembles one. Other keys are meant for programs in the image.
fn resembling(keys: &Map<String, Value>) -> Option<InputProblem> {
    let mut unknown = keys.keys().take(KEYS_MAX).filter(|key| !is_key(key));
    let (key, meant) = unknown.find_map(|key| {
        let plain = key.replace('-', "_");
        let meant = (KEYS.iter()).find(|name| is_misspelling(&plain, &name.replace('_', "-")))?;
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
