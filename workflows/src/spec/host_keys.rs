//! Reads host settings from the keys of `ConfigMap`s and Secrets.

use std::collections::BTreeMap;

use super::Quantity;
use super::documents::KeyValues;
use super::host::{
    DEFAULT_PORT, DEFAULT_USER, HostConnection, HostSettings, ImageAccess, ImageSecrets, S3Access,
    SshHost, Transfer, Verification,
};
use super::host_limits::limits;
use super::image_access::PULL;
use super::image_policy::{FORM, ImagePolicy};
use super::jump_keys::{PROXY_JUMP, jumps, logins};
use vsiflow_engine::secret::Secret;

/// Where a key was found, or should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// In the Secret.
    Secret,
    /// In the ConfigMap.
    ConfigMap,
}

/// Error: no host settings can be made from these keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message} ({remedy})")]
pub struct HostKeyError {
    /// The key with the problem.
    pub key: &'static str,
    /// Where the key is; `None` if it is missing.
    pub layer: Option<Layer>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: &'static str,
}

/// The merged keys: the keys of a Secret override those of a `ConfigMap`.
pub(super) struct HostSettingKeys<'a> {
    layers: [(Layer, Option<&'a KeyValues>); 2],
}

impl<'a> HostSettingKeys<'a> {
    /// The first of the keys that has a value; blank ones count as absent.
    pub(super) fn first(&self, keys: &[&'static str]) -> Option<(Layer, &'a Secret)> {
        self.layers.iter().find_map(|(layer, values)| {
            let values = values.as_ref()?;
            let filled = |key: &&str| values.0.get(*key).filter(|value| !is_blank(value));
            keys.iter().find_map(filled).map(|value| (*layer, value))
        })
    }

    /// Where the key is, with or without a value.
    fn layer_of(&self, key: &str) -> Option<Layer> {
        let holds = |values: &Option<&KeyValues>| values.is_some_and(|v| v.0.contains_key(key));
        self.layers
            .iter()
            .find(|(_, values)| holds(values))
            .map(|(layer, _)| *layer)
    }

    pub(super) fn text(&self, key: &'static str) -> Result<Option<String>, HostKeyError> {
        let Some((_, value)) = self.first(&[key]) else {
            return Ok(None);
        };
        match std::str::from_utf8(value.expose()) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(_) => Err(self.wrong(key, "this is not text".to_owned())),
        }
    }

    fn secret(&self, key: &'static str) -> Result<Option<Secret>, HostKeyError> {
        Ok(self.text(key)?.map(|text| Secret::new(text.into_bytes())))
    }

    pub(super) fn wrong(&self, key: &'static str, message: String) -> HostKeyError {
        HostKeyError {
            key,
            layer: self.layer_of(key),
            message,
            remedy: remedy(key),
        }
    }

    /// Reads a passphrase. A line end at the end of the file is removed; spaces are not.
    pub(super) fn passphrase(
        &self,
        name: &'static str,
        has_key: bool,
    ) -> Result<Option<Secret>, HostKeyError> {
        let Some((_, value)) = self.first(&[name]) else {
            return Ok(None);
        };
        let Ok(text) = std::str::from_utf8(value.expose()) else {
            return Err(self.wrong(name, "this is not text".to_owned()));
        };
        if !has_key {
            return Err(self.wrong(name, "there is no key that it opens".to_owned()));
        }
        Ok(Some(Secret::new(text.trim_end_matches(['\r', '\n']))))
    }
}

fn is_blank(value: &Secret) -> bool {
    value.expose().iter().all(u8::is_ascii_whitespace)
}

fn remedy(key: &str) -> &'static str {
    match key {
        "HOSTNAME" => "give the host's name or address, such as lpar1.example.com",
        "PORT" => "give a number in quotes, such as \"22\", or leave it out",
        "USER" => "give the user to log in as, such as root",
        "KNOWN_HOSTS" => {
            "give the output of ssh-keyscan after checking it, or a path as KNOWN_HOSTS_FILE; \
             INSECURE_SKIP_HOST_KEY: \"true\" connects to anybody"
        }
        "SOCKET" => "give an absolute path, or leave it out for the usual one",
        "UPLOAD_LIMIT" => "write bytes a second, such as \"20Mi\", or leave it out",
        "OVERCOMMIT_CPUS" | "OVERCOMMIT_MEMORY" | "OVERCOMMIT_POOL" => {
            "write a factor from 0.001 to 1000 in quotes, such as \"1.5\", or leave it out"
        }
        "DEVICES" => "write names with commas between them, such as \"crypto,gpu\"",
        "IMAGE_POLICY" => FORM,
        "VERIFY" => "write \"full\" or \"along\", or leave it out",
        "TRANSFER" => "write \"auto\", \"plain\", \"packed\" or \"libvirt\", or leave it out",
        "IMAGE_SERVER" => {
            "name the server of the images that IMAGE_PASSWORD or IMAGE_TOKEN is for, such as \
             images.example.com or images.example.com:8443"
        }
        "KEY_PASSPHRASE" => "give KEY or KEY_FILE as well, or leave it out: an agent needs none",
        PROXY_JUMP => {
            "name up to four jump hosts in the order of the way, such as \
             \"root@bastion.example.com:22,me@inner\", or leave it out"
        }
        key if key.starts_with(PROXY_JUMP) && key.ends_with("_KEY_PASSPHRASE") => {
            "give the _KEY or _KEY_FILE of the same jump host as well, or leave it out"
        }
        key if key.starts_with(PROXY_JUMP) => "add the jump host to PROXY_JUMP, or leave it out",
        "IMAGE_PASSWORD" => "give IMAGE_USER and IMAGE_PASSWORD, or IMAGE_TOKEN alone",
        "IMAGE_S3_ENDPOINT" => {
            "give its URL, such as https://s3.example.com, or leave it out for AWS"
        }
        "IMAGE_S3_SECRET_KEY" => "give IMAGE_S3_ACCESS_KEY and IMAGE_S3_SECRET_KEY, or neither",
        "IMAGE_TOKEN_SERVER" => "name the server, such as auth.example.com, or leave it out",
        PULL => {
            "give what `docker login` or `kubectl create secret docker-registry` writes: \
             {\"auths\": {\"registry.example.com\": {\"username\": …, \"password\": …}}}"
        }
        "IMAGE_CA" => "give the authority's certificate in PEM form, or its path as IMAGE_CA_FILE",
        "INSECURE_SKIP_HOST_KEY" | "IMAGE_ALLOW_INSECURE" => {
            "write \"true\" or \"false\", in quotes"
        }
        _ => "give it as text",
    }
}

impl HostSettings {
    /// Host settings from the keys `HOSTNAME`, `PORT`, `USER`, `KEY` or `ssh-privatekey`,
    /// `KEY_FILE`, `KEY_PASSPHRASE`, `KNOWN_HOSTS`, `KNOWN_HOSTS_FILE`, `INSECURE_SKIP_HOST_KEY`, `SOCKET`,
    /// `UPLOAD_LIMIT`, `VERIFY`, `TRANSFER`, `IMAGE_POLICY`, `OVERCOMMIT_CPUS` and so on, `DEVICES`, `PROXY_JUMP` with `PROXY_JUMP_KEY` and so on, and for images `IMAGE_SERVER` with `IMAGE_USER` and `IMAGE_PASSWORD` or
    /// `IMAGE_TOKEN`, `IMAGE_TOKEN_SERVER`, `IMAGE_ALLOW_INSECURE`, `IMAGE_CA`, `IMAGE_CA_FILE`,
    /// `IMAGE_S3_ENDPOINT`, `IMAGE_S3_REGION`, `IMAGE_S3_ACCESS_KEY`, `IMAGE_S3_SECRET_KEY`; and `.dockerconfigjson`.
    ///
    /// # Errors
    /// With the key that has the problem.
    pub fn from_keys(
        config_map: Option<&KeyValues>,
        secret: Option<&KeyValues>,
    ) -> Result<Self, HostKeyError> {
        let keys = HostSettingKeys {
            layers: [(Layer::Secret, secret), (Layer::ConfigMap, config_map)],
        };
        let Some(host) = keys.text("HOSTNAME")? else {
            let there = keys.layer_of("HOSTNAME").is_some();
            let message = if there {
                "the host's name is empty"
            } else {
                "no host is named"
            };
            return Err(keys.wrong("HOSTNAME", message.to_owned()));
        };
        if let Some(record) = simulated(&keys, &host)? {
            return Ok(Self {
                record,
                key: None,
                key_passphrase: None,
                image_secret: None,
                jump_secrets: Vec::new(),
                namespace: None,
                labels: BTreeMap::new(),
                limits: Some(limits(&keys)?),
            });
        }
        let mut ssh = SshHost {
            host,
            port: port(&keys)?,
            user: keys
                .text("USER")?
                .unwrap_or_else(|| DEFAULT_USER.to_owned()),
            key_file: keys.text("KEY_FILE")?,
            known_hosts: keys.text("KNOWN_HOSTS")?,
            known_hosts_file: keys.text("KNOWN_HOSTS_FILE")?,
            insecure_skip_host_key: yes(&keys, "INSECURE_SKIP_HOST_KEY")?,
            socket: keys.text("SOCKET")?,
            upload_limit: upload_limit(&keys)?,
            image_policy: image_policy(&keys)?,
            verify: verification(&keys)?,
            transfer: transfer(&keys)?,
            images: None,
            jumps: Vec::new(),
        };
        let mut images = image_access(&keys)?;
        let secrets = ImageSecrets {
            server: image_secret(&keys, &images)?,
            registries: keys.secret(PULL)?,
            s3: keys.secret("IMAGE_S3_SECRET_KEY")?,
        };
        ssh.check()
            .and_then(|()| images.check(secrets.server.is_some()))
            .and_then(|()| secrets.check(&images))
            .map_err(|(key, message)| keys.wrong(key, message.to_owned()))?;
        let (image_secret, several) = secrets.joined();
        images.several = several;
        if images != ImageAccess::default() {
            ssh.images = Some(Box::new(images));
        }
        let key = keys
            .first(&["KEY", "ssh-privatekey"])
            .map(|(_, key)| key.clone());
        let has_key = key.is_some() || ssh.key_file.is_some();
        let key_passphrase = keys.passphrase("KEY_PASSPHRASE", has_key)?;
        let (jumps, jump_secrets) = jumps(&keys)?.into_iter().unzip();
        ssh.jumps = jumps;
        Ok(Self {
            record: HostConnection::Ssh(ssh),
            key,
            key_passphrase,
            image_secret,
            jump_secrets,
            namespace: None,
            labels: BTreeMap::new(),
            limits: Some(limits(&keys)?),
        })
    }
}

/// The simulated host, if `HOSTNAME` is `sim:NAME`, which is not a valid machine name.
fn simulated(
    keys: &HostSettingKeys<'_>,
    host: &str,
) -> Result<Option<HostConnection>, HostKeyError> {
    if !host.starts_with(SIMULATED) {
        return Ok(None);
    }
    let parsed: Result<HostSettings, _> = host.parse();
    match parsed {
        Ok(settings) => Ok(Some(settings.record)),
        Err(error) => Err(keys.wrong("HOSTNAME", error.message)),
    }
}

/// The prefix of simulated hosts.
const SIMULATED: &str = "sim:";

/// Whether settings name a simulated host, whose files are on the machine that vsiflow runs on.
pub fn is_simulated(settings: &KeyValues) -> bool {
    let host = settings.0.get("HOSTNAME").map(Secret::expose);
    host.is_some_and(|host| host.trim_ascii().starts_with(SIMULATED.as_bytes()))
}

fn image_access(keys: &HostSettingKeys<'_>) -> Result<ImageAccess, HostKeyError> {
    Ok(ImageAccess {
        server: keys.text("IMAGE_SERVER")?,
        user: keys.text("IMAGE_USER")?,
        authorities: keys.text("IMAGE_CA")?,
        authorities_file: keys.text("IMAGE_CA_FILE")?,
        insecure: yes(keys, "IMAGE_ALLOW_INSECURE")?,
        token_server: keys.text("IMAGE_TOKEN_SERVER")?,
        s3: s3_access(keys)?,
        several: false,
    })
}

fn s3_access(keys: &HostSettingKeys<'_>) -> Result<Option<S3Access>, HostKeyError> {
    let access = S3Access {
        endpoint: keys.text("IMAGE_S3_ENDPOINT")?,
        region: keys.text("IMAGE_S3_REGION")?,
        access_key: keys.text("IMAGE_S3_ACCESS_KEY")?,
    };
    Ok((access != S3Access::default()).then_some(access))
}

/// The password of a user, or a token without a user.
fn image_secret(
    keys: &HostSettingKeys<'_>,
    images: &ImageAccess,
) -> Result<Option<Secret>, HostKeyError> {
    match (
        &images.user,
        keys.secret("IMAGE_PASSWORD")?,
        keys.secret("IMAGE_TOKEN")?,
    ) {
        (None, None, token) => Ok(token),
        (Some(_), Some(password), None) => Ok(Some(password)),
        _ => {
            let message = "user, password and token do not go together".to_owned();
            Err(keys.wrong("IMAGE_PASSWORD", message))
        }
    }
}

/// The upload limit, in bytes a second.
fn upload_limit(keys: &HostSettingKeys<'_>) -> Result<Option<u64>, HostKeyError> {
    let Some(text) = keys.text("UPLOAD_LIMIT")? else {
        return Ok(None);
    };
    match text.parse::<Quantity>() {
        Ok(limit) if limit.bytes() > 0 => Ok(Some(limit.bytes())),
        _ => Err(keys.wrong("UPLOAD_LIMIT", format!("{text:?} is not a rate"))),
    }
}

fn image_policy(keys: &HostSettingKeys<'_>) -> Result<Option<ImagePolicy>, HostKeyError> {
    let Some(text) = keys.text("IMAGE_POLICY")? else {
        return Ok(None);
    };
    let policy = text.parse().map_err(|why| keys.wrong("IMAGE_POLICY", why));
    policy.map(Some)
}

fn verification(keys: &HostSettingKeys<'_>) -> Result<Verification, HostKeyError> {
    match keys.text("VERIFY")?.as_deref() {
        None | Some("along") => Ok(Verification::Along),
        Some("full") => Ok(Verification::Full),
        Some(text) => Err(keys.wrong("VERIFY", format!("{text:?} is not a way to verify"))),
    }
}

fn transfer(keys: &HostSettingKeys<'_>) -> Result<Transfer, HostKeyError> {
    match keys.text("TRANSFER")?.as_deref() {
        None | Some("auto") => Ok(Transfer::Auto),
        Some("plain") => Ok(Transfer::Plain),
        Some("packed") => Ok(Transfer::Packed),
        Some("libvirt") => Ok(Transfer::Libvirt),
        Some(text) => Err(keys.wrong("TRANSFER", format!("{text:?} is not a way to send images"))),
    }
}

fn port(keys: &HostSettingKeys<'_>) -> Result<u16, HostKeyError> {
    let Some(text) = keys.text("PORT")? else {
        return Ok(DEFAULT_PORT);
    };
    text.parse()
        .map_err(|_| keys.wrong("PORT", format!("{text:?} is not a port")))
}

/// Parses a flag. Only `true` enables it; any other text except `false` is an error.
fn yes(keys: &HostSettingKeys<'_>, key: &'static str) -> Result<bool, HostKeyError> {
    match keys.text(key)?.as_deref() {
        Some("true") => Ok(true),
        None | Some("false") => Ok(false),
        Some(text) => Err(keys.wrong(key, format!("{text:?} is neither true nor false"))),
    }
}

/// The keys that are secrets.
const SECRET_KEYS: [&str; 7] = [
    "KEY",
    "ssh-privatekey",
    "KEY_PASSPHRASE",
    "IMAGE_PASSWORD",
    "IMAGE_TOKEN",
    PULL,
    "IMAGE_S3_SECRET_KEY",
];
/// The keys that name files of the machine vsiflow runs on.
const FILE_KEYS: [&str; 3] = ["KEY_FILE", "KNOWN_HOSTS_FILE", "IMAGE_CA_FILE"];
/// The key that permits secrets in a `ConfigMap`, where everyone can read them.
const INSISTS: &str = "INSECURE_SECRETS_IN_CONFIGMAP";

/// The secret keys in a `ConfigMap`, unless it permits them.
pub fn exposed(config_map: &KeyValues) -> Vec<&'static str> {
    let filled = |key: &str| config_map.0.get(key).filter(|value| !is_blank(value));
    if filled(INSISTS).is_some_and(|yes| yes.expose().trim_ascii() == b"true") {
        return Vec::new();
    }
    secrets_in(config_map)
}

/// The secret keys in a `ConfigMap`, whether or not it permits them.
pub fn secrets_in(config_map: &KeyValues) -> Vec<&'static str> {
    let filled = |key: &str| config_map.0.get(key).filter(|value| !is_blank(value));
    let of_jumps = logins().flat_map(|login| [login.key, login.key_passphrase]);
    let secrets = SECRET_KEYS.into_iter().chain(of_jumps);
    secrets.filter(|key| filled(key).is_some()).collect()
}

/// The files that the settings name, by key.
pub fn files(settings: &KeyValues) -> Vec<(&'static str, String)> {
    let of_jumps = logins().flat_map(|login| [login.key_file, login.known_hosts_file]);
    let named = FILE_KEYS.into_iter().chain(of_jumps).filter_map(|key| {
        let value = settings.0.get(key).filter(|value| !is_blank(value))?;
        Some((
            key,
            String::from_utf8_lossy(value.expose()).trim().to_owned(),
        ))
    });
    named.collect()
}
