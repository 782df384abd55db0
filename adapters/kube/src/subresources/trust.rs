//! Trust in the front proxy: which certificates and headers the cluster says to trust.

use std::{sync::Arc, time::Duration};

use http::HeaderMap;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use tokio::{sync::watch, time::sleep};
use x509_cert::{
    Certificate,
    der::{
        Decode as _,
        asn1::{PrintableStringRef, Utf8StringRef},
        oid::db::rfc4519::CN,
    },
};

use super::{Refusal, RequestCaller, Subresources};
use crate::api::{CallError, within};

/// The ConfigMap with the settings of the front proxy.
const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";

/// How often it is read.
const PERIOD: Duration = Duration::from_secs(60);
/// The delay after a failure.
const RETRY_DELAY: Duration = Duration::from_secs(5);

/// The cluster's settings of its front proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trust {
    /// The authorities of its certificate, in PEM.
    authorities: String,
    /// The allowed common names; any if there are none.
    names: Vec<String>,
    /// The headers with the user's name.
    pub(super) users: Vec<String>,
    /// The headers with the user's groups.
    pub(super) groups: Vec<String>,
    /// The headers with the user's UID.
    pub(super) uids: Vec<String>,
    /// The prefixes of headers with extra information about the user.
    pub(super) extras: Vec<String>,
}

impl Trust {
    /// Parses the ConfigMap.
    pub(super) fn of(map: &ConfigMap) -> Result<Self, String> {
        let data = map.data.as_ref();
        let text = |key: &str| data.and_then(|data| data.get(key)).map(String::as_str);
        let list = |key: &str| -> Result<Vec<String>, String> {
            let Some(text) = text(key).filter(|text| !text.trim().is_empty()) else {
                return Ok(Vec::new());
            };
            serde_json::from_str(text).map_err(|error| format!("{key}: {error}"))
        };
        let authorities = text("requestheader-client-ca-file").unwrap_or_default();
        if authorities.trim().is_empty() {
            return Err("requestheader-client-ca-file is not there".to_owned());
        }
        let trust = Self {
            authorities: authorities.to_owned(),
            names: list("requestheader-allowed-names")?,
            users: list("requestheader-username-headers")?,
            groups: list("requestheader-group-headers")?,
            uids: list("requestheader-uid-headers")?,
            extras: list("requestheader-extra-headers-prefix")?,
        };
        if trust.users.is_empty() {
            Err("requestheader-username-headers names none".to_owned())
        } else {
            Ok(trust)
        }
    }

    /// The user that the front proxy names.
    pub(super) fn caller(
        &self,
        certificate: Option<&[u8]>,
        headers: &HeaderMap,
    ) -> Result<RequestCaller, Refusal> {
        let certificate = certificate.ok_or_else(|| Refusal::stranger("no certificate"))?;
        let name = common_name(certificate);
        let name = name.ok_or_else(|| Refusal::stranger("the certificate has not one name"))?;
        if !self.names.is_empty() && !self.names.contains(&name) {
            let why = format!("the certificate of {name:?} is not one of the front proxy's");
            return Err(Refusal::stranger(&why));
        }
        RequestCaller::named(self, headers)
    }
}

/// The common name of a certificate, if it has exactly one.
fn common_name(der: &[u8]) -> Option<String> {
    let certificate = Certificate::from_der(der).ok()?;
    let subject = certificate.tbs_certificate().subject();
    let mut names = subject.iter().filter(|one| one.oid == CN);
    let name = &names.next()?.value;
    if names.next().is_some() {
        return None;
    }
    let plain = name.decode_as::<PrintableStringRef<'_>>();
    let plain = plain.map(|text| text.as_str().to_owned());
    let wide = || name.decode_as::<Utf8StringRef<'_>>();
    plain
        .or_else(|_| wide().map(|text| text.as_str().to_owned()))
        .ok()
}

impl Subresources {
    /// The authorities (PEM) whose certificates the listener must accept, and their changes; while there
    /// are none, it must refuse all.
    pub fn authorities(&self) -> Authorities {
        Authorities(self.inner.trust.subscribe())
    }

    /// Reads the cluster's settings of its front proxy again and again. Cancel safe.
    pub async fn keep_current(&self) -> std::convert::Infallible {
        let mut last = String::new();
        loop {
            let written = self.read_trust().await;
            let pause = if written.is_ok() { PERIOD } else { RETRY_DELAY };
            let news = written.err().unwrap_or_default();
            if news != last && !news.is_empty() {
                tracing::warn!(
                    code = "VSI1034",
                    "who may ask for subresources is not known: {news}"
                );
            }
            last = news;
            sleep(pause).await;
        }
    }

    /// A ConfigMap that cannot be read changes nothing; one that is missing or invalid removes all
    /// trust.
    async fn read_trust(&self) -> Result<(), String> {
        let api: Api<ConfigMap> = Api::namespaced(self.inner.client.clone(), NAMESPACE);
        let trust = match within(api.get(NAME)).await {
            Ok(map) => Trust::of(&map),
            Err(CallError::Gone) => Err("it is not there".to_owned()),
            Err(error) => return Err(format!("the ConfigMap {NAMESPACE}/{NAME}: {error}")),
        };
        let (trust, written) = match trust {
            Ok(trust) => (Some(Arc::new(trust)), Ok(())),
            Err(why) => (
                None,
                Err(format!("the ConfigMap {NAMESPACE}/{NAME}: {why}")),
            ),
        };
        self.inner.trust.send_if_modified(|known| {
            let news = *known != trust;
            *known = trust;
            news
        });
        written
    }
}

/// The authorities whose certificates are accepted.
pub struct Authorities(watch::Receiver<Option<Arc<Trust>>>);

impl Authorities {
    /// The current authorities, in PEM.
    pub fn now(&mut self) -> Option<String> {
        let trust = self.0.borrow_and_update();
        trust.as_ref().map(|trust| trust.authorities.clone())
    }

    /// Waits until they change. Cancel safe.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}
