//! Registers the certificate of this API with the API server.

use std::time::Duration;

use k8s_openapi::ByteString;
use kube::{
    Api,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{GROUP, Subresources, VERSION};
use crate::{
    FIELD_MANAGER,
    api::{CallError, within},
};

/// How often the registration is checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(300);
/// The delay after a failure; it grows from the first to the second value.
const FIRST_DELAY: Duration = Duration::from_secs(2);
const MAX_DELAY: Duration = Duration::from_secs(60);

/// The Service in front of this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ServiceName {
    /// The name that the API server expects in the certificate.
    pub fn host(&self) -> String {
        format!("{}.{}.svc", self.name, self.namespace)
    }
}

impl Subresources {
    /// Maintains the certificate (PEM) in the `APIService` that refers to this Service. Cancel safe.
    pub async fn register(&self, service: &ServiceName, pem: &str) -> std::convert::Infallible {
        let (mut last, mut again) = (String::new(), FIRST_DELAY);
        loop {
            let pause = match self.registered(service, pem).await {
                Ok(()) => {
                    (last, again) = (String::new(), FIRST_DELAY);
                    CHECK_INTERVAL
                }
                Err(why) => {
                    if why != last {
                        tracing::warn!(
                            code = "VSI1034",
                            "the API of subresources is not registered with the API server: {why}"
                        );
                    }
                    last = why;
                    let next = again.saturating_mul(2).min(MAX_DELAY);
                    std::mem::replace(&mut again, next)
                }
            };
            sleep(pause).await;
        }
    }

    async fn registered(&self, service: &ServiceName, pem: &str) -> Result<(), String> {
        let name = format!("{VERSION}.{GROUP}");
        let api: Api<DynamicObject> = Api::all_with(self.inner.client.clone(), &api_service());
        let wrong = |error: CallError| match error {
            CallError::Gone => format!("there is no APIService {name}"),
            error => format!("the APIService {name}: {error}"),
        };
        let found = within(api.get(&name)).await.map_err(wrong)?;
        let spec = found.data.get("spec").cloned().unwrap_or_default();
        let of = |key: &str| {
            let value = spec.get("service").and_then(|named| named.get(key));
            value.and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let (namespace, its) = (of("namespace"), of("name"));
        if (&namespace, &its) != (&service.namespace, &service.name) {
            return Err(format!(
                "the APIService {name} leads to the Service {namespace}/{its}, which is another"
            ));
        }
        let bundle = serde_json::to_value(ByteString(pem.into())).unwrap_or_default();
        if spec.get("caBundle") == Some(&bundle) {
            return Ok(());
        }
        let patch = patch(found.metadata.resource_version, bundle);
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let done = within(api.patch(&name, &params, &Patch::Merge(patch))).await;
        done.map(|_| ()).map_err(wrong)
    }
}

/// The patch fails if the `APIService` was changed since it was read: it may refer to another Service
/// now.
fn patch(version: Option<String>, bundle: Value) -> Value {
    json!({
        "metadata": {"resourceVersion": version},
        "spec": {"caBundle": bundle, "insecureSkipTLSVerify": false},
    })
}

fn api_service() -> ApiResource {
    ApiResource {
        group: "apiregistration.k8s.io".to_owned(),
        version: "v1".to_owned(),
        api_version: "apiregistration.k8s.io/v1".to_owned(),
        kind: "APIService".to_owned(),
        plural: "apiservices".to_owned(),
    }
}
