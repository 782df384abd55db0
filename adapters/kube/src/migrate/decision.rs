//! What somebody has to decide before vsiflow serves the resources: the manifests of the old operator have it,
//! and in a cluster vsiflow refuses it.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Resource,
    api::{DynamicObject, ListParams},
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use vsiflow_engine::secret::Secret;
use vsiflow_workflows::spec::{KeyValues, host};

use super::{MigrateError, Migration, PAGE};
use crate::{api::within, kind::ResourceKind, operator::Namespaces};

/// Something that vsiflow will refuse in a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationDecision {
    /// Its kind, namespace and name.
    pub object: String,
    /// The code with which it will be refused.
    pub code: &'static str,
    /// What is refused.
    pub message: String,
    /// What can be done.
    pub remedy: &'static str,
}

/// A key that the settings of every host have.
const HOSTNAME: &str = "HOSTNAME";

impl Migration {
    /// Lists what needs a decision: secrets in ConfigMaps of hosts, and images at addresses of the cluster.
    ///
    /// # Errors
    /// If ConfigMaps or VSIs cannot be listed.
    pub async fn decisions(&self) -> Result<Vec<MigrationDecision>, MigrateError> {
        let described = ResourceKind::Vsi.api_resource();
        let (mut maps, mut vsis) = (Vec::new(), Vec::new());
        match &self.namespaces {
            Namespaces::All => {
                all_of(
                    &Api::<ConfigMap>::all(self.client.clone()),
                    "configmaps",
                    &mut maps,
                )
                .await?;
                let api = Api::<DynamicObject>::all_with(self.client.clone(), &described);
                all_of(&api, &described.plural, &mut vsis).await?;
            }
            Namespaces::These(these) => {
                for namespace in these {
                    let of_maps = Api::<ConfigMap>::namespaced(self.client.clone(), namespace);
                    all_of(&of_maps, "configmaps", &mut maps).await?;
                    let client = self.client.clone();
                    let api = Api::<DynamicObject>::namespaced_with(client, namespace, &described);
                    all_of(&api, &described.plural, &mut vsis).await?;
                }
            }
        }
        let exposed = maps.iter().filter_map(of_config_map);
        let internal = vsis.iter().filter_map(of_vsi);
        Ok(exposed.chain(internal).collect())
    }
}

async fn all_of<T>(api: &Api<T>, plural: &str, listed: &mut Vec<T>) -> Result<(), MigrateError>
where
    T: Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = within(api.list(&params)).await;
        let page = page.map_err(|error| MigrateError::Unlisted {
            what: plural.to_owned(),
            place: "the namespaces".to_owned(),
            why: error,
        })?;
        listed.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(()),
        }
    }
}

fn named<T: Resource>(kind: &str, object: &T) -> String {
    let meta = object.meta();
    let [namespace, name] =
        [&meta.namespace, &meta.name].map(|part| part.as_deref().unwrap_or_default());
    format!("{kind} {namespace}/{name}")
}

/// The secrets of a host in a ConfigMap.
fn of_config_map(map: &ConfigMap) -> Option<MigrationDecision> {
    let data = map
        .data
        .as_ref()
        .filter(|data| data.contains_key(HOSTNAME))?;
    let values: BTreeMap<_, _> = data
        .iter()
        .map(|(key, value)| (key.clone(), Secret::new(value.clone().into_bytes())))
        .collect();
    let keys = host::exposed(&KeyValues(values));
    (!keys.is_empty()).then(|| MigrationDecision {
        object: named("ConfigMap", map),
        code: "VSI0613",
        message: format!(
            "{} is in a ConfigMap, and everybody may read it",
            keys.join(", ")
        ),
        remedy: "move it to a Secret with the same labels, with a new value, or accept the risk by \
                 INSECURE_SECRETS_IN_CONFIGMAP: \"true\"",
    })
}

/// An image at an address of the cluster.
fn of_vsi(vsi: &DynamicObject) -> Option<MigrationDecision> {
    let url = vsi.data.pointer("/spec/imageURL").and_then(Value::as_str)?;
    let uri: http::Uri = url.parse().ok()?;
    let host = uri.host()?.trim_matches(['[', ']']);
    let namespace = vsi.metadata.namespace.as_deref().unwrap_or_default();
    is_internal(host, namespace).then(|| MigrationDecision {
        object: named(ResourceKind::Vsi.name(), vsi),
        code: "VSI0611",
        message: format!("its image is at {host}, an address inside the cluster or of a private network"),
        remedy: "permit the address by `serve --allow-image-addresses CIDR`, or put the image on a public server \
                 or in a registry",
    })
}

/// Whether a name is one of a Service, or an address is not public.
fn is_internal(host: &str, namespace: &str) -> bool {
    if let Ok(address) = host.parse::<IpAddr>() {
        return match address {
            IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || v4.is_link_local(),
            IpAddr::V6(v6) => {
                v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local()
            }
        };
    }
    let labels: Vec<&str> = host.split('.').collect();
    match labels.as_slice() {
        [_] => true,
        [_, second] => [namespace, "default"].contains(second),
        [_, _, third, ..] => *third == "svc" || host.ends_with(".cluster.local"),
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_of_hosts_in_config_maps_need_a_decision() {
        let map = |data: Value| {
            let map = json!({"metadata": {"namespace": "n", "name": "lpar"}, "data": data});
            of_config_map(&serde_json::from_value(map).unwrap())
        };
        let decision = map(json!({"HOSTNAME": "h", "KEY": "k"})).unwrap();
        assert_eq!(
            (decision.code, decision.object.as_str()),
            ("VSI0613", "ConfigMap n/lpar")
        );
        assert!(decision.message.contains("KEY"));
        let accepted =
            json!({"HOSTNAME": "h", "KEY": "k", "INSECURE_SECRETS_IN_CONFIGMAP": "true"});
        for data in [
            json!({"HOSTNAME": "h"}),
            json!({"KEY": "of an application"}),
            accepted,
        ] {
            assert_eq!(map(data.clone()), None, "{data}");
        }
    }

    #[test]
    fn images_inside_the_cluster_need_a_decision() {
        for host in [
            "hpcr-qcow2-image",
            "hpcr-qcow2-image.default",
            "images.n",
            "images.other.svc",
            "images.other.svc.cluster.local",
            "10.96.0.12",
            "127.0.0.1",
            "fd00::1",
        ] {
            assert!(is_internal(host, "n"), "{host}");
        }
        for host in [
            "images.example.com",
            "example.com",
            "8.8.8.8",
            "2001:db8::1",
        ] {
            assert!(!is_internal(host, "n"), "{host}");
        }
        let vsi = json!({
            "metadata": {"namespace": "default", "name": "web"},
            "spec": {"imageURL": "http://hpcr-qcow2-image.default:8080/hpcr.qcow2"},
        });
        let decision = of_vsi(&serde_json::from_value(vsi).unwrap()).unwrap();
        assert_eq!(decision.code, "VSI0611");
        assert!(decision.message.contains("hpcr-qcow2-image.default"));
    }
}
