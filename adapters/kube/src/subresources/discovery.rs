//! What there is, as the API server and kubectl ask for it.

use serde_json::{Value, json};

use super::{GROUP, VERSION, route::UploadTarget};
use crate::kind::ResourceKind;

/// The group.
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

/// What is in it. There are no resources, but subresources of them.
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
