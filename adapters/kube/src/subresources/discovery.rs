//! API discovery for the API server and kubectl.

use serde_json::{Value, json};

use super::{GROUP, VERSION, route::UploadTarget};
use crate::kind::ResourceKind;

/// The discovery document of the group.
pub(super) fn group() -> Value {
    let version = json!({"groupVersion": format!("{GROUP}/{VERSION}"), "version": VERSION});
    json!({
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": GROUP,
        "versions": [version],
        "preferredVersion": version,
    })
}

/// The discovery document of the version. It has no resources, only subresources of resources.
pub(super) fn resources() -> Value {
    let all = ResourceKind::ALL.into_iter().flat_map(|kind| {
        let its = kind.subresources().iter();
        its.map(move |subresource| {
            json!({
                "name": format!("{}/{}", kind.plural(), subresource.word()),
                "singularName": "",
                "namespaced": true,
                "kind": kind.name(),
                "verbs": subresource.verbs(),
            })
        })
    });
    let upload = json!({
        "name": format!("{}/{}", UploadTarget::PLURAL, UploadTarget::WORD),
        "singularName": "",
        "namespaced": true,
        "kind": "Upload",
        "verbs": UploadTarget::VERBS,
    });
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": format!("{GROUP}/{VERSION}"),
        "resources": all.chain([upload]).collect::<Vec<_>>(),
    })
}
