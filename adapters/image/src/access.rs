//! Credentials for image servers.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::RequestBuilder;
use serde::Deserialize;
use url::{Host, Url};
use vsiflow_engine::secret::Secret;

/// A password or token for exactly one server. `Debug` prints neither.
#[derive(Clone, Debug)]
pub struct ServerAccess {
    server: Host,
    port: Option<u16>,
    user: Option<String>,
    secret: Secret,
}

impl ServerAccess {
    /// Credentials for `server`, a name or address with an optional port: a user's password, or a bearer
    /// token if there is no user. `None` if `server` is not valid.
    pub fn new(server: &str, user: Option<String>, secret: Secret) -> Option<Self> {
        // The usual port of this scheme is none that an image server uses, so no port is dropped.
        let url = Url::parse(&format!("ftp://{server}/")).ok()?;
        Some(Self {
            server: url.host()?.to_owned(),
            port: url.port(),
            user,
            secret,
        })
    }

    /// Credentials from a Docker configuration: `{"auths": {"registry": {"username": …, "password": …}}}`, or
    /// with `auth`, both in base64. Entries with neither are skipped.
    ///
    /// # Errors
    /// What is wrong, without repeating any of the content.
    pub fn of_docker_config(config: &Secret) -> Result<Vec<Self>, &'static str> {
        let config: DockerConfig = serde_json::from_slice(config.expose())
            .map_err(|_| "this is not Docker's configuration with `auths`")?;
        let logins = config.auths.into_iter().filter_map(|(server, login)| {
            let (user, password) = login.user_and_password()?;
            Self::new(registry_of(&server), Some(user), Secret::new(password))
        });
        Ok(logins.collect())
    }

    /// Whether a URL belongs to that server. Without a port only the scheme's usual port matches.
    pub(crate) fn is_for(&self, url: &Url) -> bool {
        let same = url
            .host()
            .is_some_and(|host| host.to_owned() == self.server);
        let port = match self.port {
            Some(port) => url.port_or_known_default() == Some(port),
            None => url.port().is_none(),
        };
        same && port
    }

    /// Whether it is a user's password and not a token.
    pub(crate) fn is_password(&self) -> bool {
        self.user.is_some()
    }

    /// Adds the credentials to a request. A redirect to another server does not carry them there.
    pub(crate) fn show(&self, request: RequestBuilder) -> RequestBuilder {
        let secret = self.secret.expose_str().unwrap_or_default();
        match &self.user {
            Some(user) => request.basic_auth(user, Some(secret)),
            None => request.bearer_auth(secret),
        }
    }
}

#[derive(Deserialize)]
struct DockerConfig {
    auths: BTreeMap<String, DockerLogin>,
}

#[derive(Deserialize)]
struct DockerLogin {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
}

impl DockerLogin {
    fn user_and_password(self) -> Option<(String, String)> {
        if !self.username.is_empty() {
            return Some((self.username, self.password));
        }
        let both = STANDARD.decode(self.auth.trim()).ok()?;
        let both = String::from_utf8(both).ok()?;
        let (user, password) = both.split_once(':')?;
        let secret = password.trim_end_matches('\0');
        (!user.is_empty()).then(|| (user.to_owned(), secret.to_owned()))
    }
}

/// The registry that an entry of Docker's configuration is for. Some entries have a scheme and a path.
fn registry_of(entry: &str) -> &str {
    let rest = entry.split_once("://").map_or(entry, |(_, rest)| rest);
    let server = rest.split('/').next().unwrap_or_default();
    match server {
        "docker.io" | "index.docker.io" => "registry-1.docker.io",
        server => server,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_docker_configuration_has_a_login_for_each_registry() {
        let config = r#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "bWU6cDpTRUNSRVQ="},
            "r.example:5000": {"username": "me", "password": "SECRET"},
            "none.example": {}, "odd.example": {"auth": "SECRET"}
        }, "credsStore": "x"}"#;
        let all = ServerAccess::of_docker_config(&Secret::new(config)).unwrap();
        assert!(!format!("{all:?}").contains("SECRET"));
        let is_for = |url: &str| all.iter().any(|one| one.is_for(&Url::parse(url).unwrap()));
        assert!(is_for("https://registry-1.docker.io/") && is_for("https://r.example:5000/"));
        assert!(all.len() == 2 && !is_for("https://r.example/"));
        for wrong in ["", "SECRET", "{}", r#"{"auths": "SECRET"}"#] {
            let why = ServerAccess::of_docker_config(&Secret::new(wrong)).unwrap_err();
            assert!(!why.contains("SECRET"));
        }
    }

    #[test]
    fn a_secret_is_for_one_server_only() {
        let is_for = |server: &str, url: &str| {
            let access = ServerAccess::new(server, None, Secret::new(b"SECRET".to_vec())).unwrap();
            assert!(!format!("{access:?}").contains("SECRET"));
            access.is_for(&Url::parse(url).unwrap())
        };
        for url in [
            "https://a.example/x",
            "http://A.EXAMPLE/x",
            "https://a.example:443/x",
        ] {
            assert!(is_for("a.example", url), "{url}");
        }
        for url in [
            "https://b.example/x",
            "https://x.a.example/",
            "https://a.example:8443/x",
        ] {
            assert!(!is_for("a.example", url), "{url}");
        }
        assert!(is_for("a.example:8443", "https://a.example:8443/x"));
        assert!(is_for("a.example:443", "https://a.example/x"));
        assert!(!is_for("a.example:8443", "https://a.example/x"));
        assert!(is_for("[::1]:8080", "http://[::1]:8080/x"));
        assert!(ServerAccess::new("", None, Secret::new(Vec::new())).is_none());
    }
}
