//! Access to images for a host, if they are not public.

use serde::{Deserialize, Serialize};
use vsiflow_engine::secret::Secret;

use super::documents::KeyValues;

/// Access to images, without the secrets for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageAccess {
    /// The only server that gets the password or token: a name, with a port if it is not the default.
    /// Documents of others choose an image's URL, and it must not send the secret to another server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The user of a password; without a user, the secret is a bearer token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Certificates of authorities that are trusted besides the system's, as PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorities: Option<String>,
    /// A file with such certificates, on the machine that vsiflow runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorities_file: Option<String>,
    /// Whether the password or token may be sent over plain HTTP, and whether a redirect may lead from
    /// HTTPS to HTTP.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub insecure: bool,
    /// The only further server that gets a registry's password, in exchange for a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_server: Option<String>,
    /// Access to object storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Access>,
    /// Whether the stored secret holds several secrets, by name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub several: bool,
}

/// Access to object storage, without the secret for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct S3Access {
    /// The URL of the service; by default that of AWS in the region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The ID of the signing key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key: Option<String>,
}

/// The secrets for image access. The secret store holds them as one.
#[derive(Clone, Debug, Default)]
pub struct ImageSecrets {
    /// The password or token of the server.
    pub server: Option<Secret>,
    /// The logins of registries, in the form of Docker's configuration.
    pub registries: Option<Secret>,
    /// The secret of the signing key for object storage.
    pub s3: Option<Secret>,
}

impl ImageSecrets {
    /// The secret to store, and whether it holds several by name. A password or token alone is stored
    /// as it is.
    pub(super) fn joined(self) -> (Option<Secret>, bool) {
        if self.registries.is_none() && self.s3.is_none() {
            return (self.server, false);
        }
        let all = [
            ("server", &self.server),
            ("registries", &self.registries),
            ("s3", &self.s3),
        ];
        let text = |secret: &Option<Secret>| Some(secret.as_ref()?.expose_str()?.to_owned());
        let all = all
            .into_iter()
            .filter_map(|(name, secret)| Some((name, text(secret)?)));
        let all: std::collections::BTreeMap<_, _> = all.collect();
        // Serializing a map of texts cannot fail.
        (serde_json::to_vec(&all).ok().map(Secret::new), true)
    }

    /// Reads the stored secret.
    pub fn of(stored: Option<&Secret>, several: bool) -> Self {
        if !several {
            let server = stored.cloned();
            return Self {
                server,
                ..Self::default()
            };
        }
        type Named = std::collections::BTreeMap<String, String>;
        let stored =
            stored.and_then(|stored| serde_json::from_slice::<Named>(stored.expose()).ok());
        let mut all = stored.unwrap_or_default();
        let mut take = |name: &str| all.remove(name).map(Secret::new);
        Self {
            server: take("server"),
            registries: take("registries"),
            s3: take("s3"),
        }
    }

    /// Checks that they fit the settings that are not secret, and are well-formed.
    pub(super) fn check(&self, images: &ImageAccess) -> Result<(), (&'static str, &'static str)> {
        let s3 = images.s3.as_ref();
        if s3.is_some_and(|s3| s3.access_key.is_some()) != self.s3.is_some() {
            return Err((
                "IMAGE_S3_SECRET_KEY",
                "a key that signs has a name and a secret",
            ));
        }
        let Some(registries) = &self.registries else {
            return Ok(());
        };
        let read = serde_json::from_slice::<serde_json::Value>(registries.expose());
        let logins =
            read.is_ok_and(|read| read.get("auths").is_some_and(|auths| auths.is_object()));
        if logins {
            Ok(())
        } else {
            Err((PULL, "this is not Docker's configuration with `auths`"))
        }
    }
}

/// The key of a Secret of type `kubernetes.io/dockerconfigjson`.
pub(super) const PULL: &str = ".dockerconfigjson";

/// Whether a Secret holds only image access, so that it is used in addition to the host's own Secret.
pub fn opens_images_only(values: &KeyValues) -> bool {
    let opens = |key: &String| key == PULL || key.starts_with("IMAGE_");
    !values.0.is_empty() && values.0.keys().all(opens)
}

/// Maps the keys of a Secret of type `kubernetes.io/basic-auth` to the keys of host settings.
pub fn of_basic_auth(key: &str) -> Option<&'static str> {
    match key {
        "username" => Some("IMAGE_USER"),
        "password" => Some("IMAGE_PASSWORD"),
        _ => None,
    }
}

impl ImageAccess {
    /// Checks that the settings are complete; `has_secret` says whether there is a password or token.
    ///
    /// # Errors
    /// The key with the problem, and the problem.
    pub(super) fn check(&self, has_secret: bool) -> Result<(), (&'static str, &'static str)> {
        if let Some(s3) = &self.s3 {
            let url = |text: &String| {
                let url = url::Url::parse(text);
                url.is_ok_and(|url| {
                    let web = matches!(url.scheme(), "http" | "https") && url.has_host();
                    let plain = url.username().is_empty() && url.password().is_none();
                    web && plain && url.query().is_none() && url.fragment().is_none()
                })
            };
            if s3.endpoint.as_ref().is_some_and(|endpoint| !url(endpoint)) {
                return Err(("IMAGE_S3_ENDPOINT", "this is not the URL of a service"));
            }
        }
        match (&self.server, has_secret) {
            _ if self
                .token_server
                .as_ref()
                .is_some_and(|server| !is_server(server)) =>
            {
                return Err(("IMAGE_TOKEN_SERVER", "this is not the name of a server"));
            }
            (None, true) => {
                return Err((
                    "IMAGE_SERVER",
                    "a password or token is sent to one server only, and none is named",
                ));
            }
            (Some(_), false) => {
                return Err(("IMAGE_SERVER", "it has no password or token"));
            }
            (Some(server), true) if !is_server(server) => {
                return Err(("IMAGE_SERVER", "this is not the name of a server"));
            }
            _ => {}
        }
        let pem = |text: &String| text.contains("-----BEGIN CERTIFICATE-----");
        match &self.authorities {
            Some(text) if !pem(text) => Err(("IMAGE_CA", "this holds no certificate in PEM form")),
            _ => Ok(()),
        }
    }
}

/// Whether it is a name or address, optionally with a port.
fn is_server(server: &str) -> bool {
    let url = url::Url::parse(&format!("https://{server}/"));
    url.is_ok_and(|url| {
        let plain = url.username().is_empty() && url.password().is_none();
        plain && url.path() == "/" && url.query().is_none() && url.fragment().is_none()
    })
}
