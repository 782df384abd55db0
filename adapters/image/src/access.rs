//! What is shown to a server of images, so that it gives them.

use reqwest::RequestBuilder;
use url::{Host, Url};
use vsiflow_engine::secret::Secret;

/// A password or token, and the one server it is for. Prints neither.
#[derive(Clone, Debug)]
pub struct ServerAccess {
    server: Host,
    port: Option<u16>,
    user: Option<String>,
    secret: Secret,
}

impl ServerAccess {
    /// For `server`, a name or address and perhaps a port: a user's password, or without a user a
    /// bearer token. `None` where that names no server.
    pub fn new(server: &str, user: Option<String>, secret: Secret) -> Option<Self> {
        // A scheme whose usual port is none of those that count.
        let url = Url::parse(&format!("ftp://{server}/")).ok()?;
        Some(Self {
            server: url.host()?.to_owned(),
            port: url.port(),
            user,
            secret,
        })
    }

    /// Whether a URL is of that server. Without a port only the scheme's usual one counts.
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

    /// The request with the secret. It goes to no other server, should this one redirect.
    pub(crate) fn show(&self, request: RequestBuilder) -> RequestBuilder {
        let secret = self.secret.expose_str().unwrap_or_default();
        match &self.user {
            Some(user) => request.basic_auth(user, Some(secret)),
            None => request.bearer_auth(secret),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
