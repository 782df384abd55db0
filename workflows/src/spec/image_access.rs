//! What it takes to read images for a host, where they are not there for everybody.

use serde::{Deserialize, Serialize};

/// Access to images, without the secret that goes with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageAccess {
    /// The one server that the password or token is sent to: a name, with a port where it is not
    /// the usual one. An image's URL is another's wish, and must not lead a secret elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The user of a password; without one the secret is a bearer token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Certificates of authorities that are trusted beside the system's, as PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorities: Option<String>,
    /// A file with such, on the machine vsiflow runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorities_file: Option<String>,
    /// Whether the password or token may go over plain HTTP, and a redirect lead from HTTPS to it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub insecure: bool,
}

impl ImageAccess {
    /// Checks that it makes sense together with whether there is a secret.
    ///
    /// # Errors
    /// With the key that is to blame, and what is wrong.
    pub(super) fn check(&self, has_secret: bool) -> Result<(), (&'static str, &'static str)> {
        match (&self.server, has_secret) {
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

/// A name or address, and perhaps a port.
fn is_server(server: &str) -> bool {
    let url = url::Url::parse(&format!("https://{server}/"));
    url.is_ok_and(|url| {
        let plain = url.username().is_empty() && url.password().is_none();
        plain && url.path() == "/" && url.query().is_none() && url.fragment().is_none()
    })
}
