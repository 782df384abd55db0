//! Reads jump hosts from the keys of `ConfigMap`s and Secrets: `PROXY_JUMP` names them, `PROXY_JUMP_…`
//! is the login for all of them, `PROXY_JUMP_2_…` for the second.

use vsiflow_engine::secret::Secret;

use super::{
    host_keys::{HostKeyError, HostSettingKeys},
    jump::{JumpHost, JumpSecrets, MAX_JUMPS},
};

/// The key that names the jump hosts.
pub(super) const PROXY_JUMP: &str = "PROXY_JUMP";

/// The keys of a login.
#[derive(Clone, Copy)]
pub(super) struct LoginKeys {
    pub(super) key: &'static str,
    pub(super) key_file: &'static str,
    pub(super) key_passphrase: &'static str,
    known_hosts: &'static str,
    pub(super) known_hosts_file: &'static str,
}

impl LoginKeys {
    fn all(self) -> [&'static str; 5] {
        [
            self.key,
            self.key_file,
            self.key_passphrase,
            self.known_hosts,
            self.known_hosts_file,
        ]
    }
}

macro_rules! login_keys {
    ($prefix:literal) => {
        LoginKeys {
            key: concat!($prefix, "_KEY"),
            key_file: concat!($prefix, "_KEY_FILE"),
            key_passphrase: concat!($prefix, "_KEY_PASSPHRASE"),
            known_hosts: concat!($prefix, "_KNOWN_HOSTS"),
            known_hosts_file: concat!($prefix, "_KNOWN_HOSTS_FILE"),
        }
    };
}

/// The keys for all jump hosts.
const EVERY: LoginKeys = login_keys!("PROXY_JUMP");
/// The keys for one jump host each, in their order.
const EACH: [LoginKeys; MAX_JUMPS] = [
    login_keys!("PROXY_JUMP_1"),
    login_keys!("PROXY_JUMP_2"),
    login_keys!("PROXY_JUMP_3"),
    login_keys!("PROXY_JUMP_4"),
];

/// The keys of logins at jump hosts.
pub(super) fn logins() -> impl Iterator<Item = LoginKeys> {
    std::iter::once(EVERY).chain(EACH)
}

/// Every key for jump hosts.
pub fn jump_keys() -> impl Iterator<Item = &'static str> {
    std::iter::once(PROXY_JUMP).chain(logins().flat_map(LoginKeys::all))
}

/// The jump hosts with their secrets, in order.
///
/// # Errors
/// With the key that has the problem.
pub(super) fn jumps(
    keys: &HostSettingKeys<'_>,
) -> Result<Vec<(JumpHost, JumpSecrets)>, HostKeyError> {
    let named = match keys.text(PROXY_JUMP)? {
        Some(text) => JumpHost::list(&text).map_err(|why| keys.wrong(PROXY_JUMP, why))?,
        None => Vec::new(),
    };
    refuse_logins_of_none(keys, named.len())?;
    let with_login = |(jump, own)| login(keys, jump, own);
    named.into_iter().zip(EACH).map(with_login).collect()
}

/// Refuses keys for a jump host that is not named: they were probably meant for another.
fn refuse_logins_of_none(keys: &HostSettingKeys<'_>, count: usize) -> Result<(), HostKeyError> {
    let every = Some(EVERY).filter(|_| count == 0);
    let none = every.into_iter().chain(EACH.into_iter().skip(count));
    match none
        .flat_map(LoginKeys::all)
        .find(|key| keys.first(&[key]).is_some())
    {
        Some(key) => Err(keys.wrong(key, "PROXY_JUMP names no such jump host".to_owned())),
        None => Ok(()),
    }
}

/// Adds the login of a jump host: its own keys take precedence over those for all.
fn login(
    keys: &HostSettingKeys<'_>,
    mut jump: JumpHost,
    own: LoginKeys,
) -> Result<(JumpHost, JumpSecrets), HostKeyError> {
    let mut secrets = JumpSecrets::default();
    for names in [own, EVERY] {
        if secrets.key.is_none() && jump.key_file.is_none() {
            secrets.key = secret(keys, names.key);
            jump.key_file = keys.text(names.key_file)?;
            let has_key = secrets.key.is_some() || jump.key_file.is_some();
            secrets.key_passphrase = keys.passphrase(names.key_passphrase, has_key)?;
        }
        if jump.known_hosts.is_none() && jump.known_hosts_file.is_none() {
            jump.known_hosts = keys.text(names.known_hosts)?;
            jump.known_hosts_file = keys.text(names.known_hosts_file)?;
        }
    }
    Ok((jump, secrets))
}

fn secret(keys: &HostSettingKeys<'_>, name: &'static str) -> Option<Secret> {
    keys.first(&[name]).map(|(_, value)| value.clone())
}
