//! Describes why a watch cannot list: what, why, and what to do.

use kube::{core::Status, runtime::watcher};
use vsiflow_engine::causes::chain;

use crate::resource_cache::{ObjectSource, WatchedKind};

/// One line for the operator of the process.
pub(super) fn describe((what, namespace): &ObjectSource, error: &watcher::Error) -> String {
    let what = plural(*what);
    let place = match namespace {
        Some(namespace) => format!("namespace {namespace}"),
        None => "all namespaces".to_owned(),
    };
    let (why, next) = match status(error) {
        Some(status) => (
            format!("{} ({})", status.message.trim(), status.code),
            remedy(status.code, &what),
        ),
        None => (
            chain(error),
            "see whether the API server that the kubeconfig names is up and can be reached"
                .to_owned(),
        ),
    };
    format!("{what} in {place} cannot be watched, the known ones remain: {why}; next: {next}")
}

/// Whether the error is an answer of a working server: a refusal.
pub(super) fn is_answer(error: &watcher::Error) -> bool {
    status(error).is_some_and(|status| status.code < 500)
}

/// Whether the server does not have the kind, or forbids access to it.
pub(super) fn is_missing(error: &watcher::Error) -> bool {
    status(error).is_some_and(|status| matches!(status.code, 403 | 404))
}

fn plural(what: WatchedKind) -> String {
    match what {
        WatchedKind::Kind(kind) => {
            let described = kind.api_resource();
            format!("{}.{}", described.plural, described.group)
        }
        WatchedKind::ConfigMaps => "configmaps".to_owned(),
        WatchedKind::Secrets => "secrets".to_owned(),
    }
}

fn remedy(code: u16, what: &str) -> String {
    match code {
        401 => "renew the credentials in the kubeconfig, or the pod's service account".to_owned(),
        403 => format!(
            "grant get, list and watch on {what} there (deploy/helm and deploy/kustomize have the Role)"
        ),
        404 => "bring the definitions up to date: `vsiflow crd | kubectl apply -f -`".to_owned(),
        _ => "no action is needed if it passes: vsiflow asks again automatically".to_owned(),
    }
}

/// The API server's answer, if the error is one.
fn status(error: &watcher::Error) -> Option<&Status> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::ResourceKind;

    fn trouble_text(what: WatchedKind, code: u16, message: &str) -> String {
        let status = Status::failure(message, "Because").with_code(code);
        let error = watcher::Error::InitialListFailed(kube::Error::Api(Box::new(status)));
        describe(&(what, Some("prod".to_owned())), &error)
    }

    #[test]
    fn a_refusal_names_what_where_why_and_the_next_step() {
        assert_eq!(
            trouble_text(
                WatchedKind::Kind(ResourceKind::Vsi),
                404,
                "404 page not found\n"
            ),
            "onprem-hpcrs.hpse.ibm.com in namespace prod cannot be watched, the known ones \
             remain: 404 page not found (404); next: bring the definitions up to date: `vsiflow crd \
             | kubectl apply -f -`"
        );
        let forbidden = trouble_text(WatchedKind::Secrets, 403, "secrets is forbidden");
        assert!(
            forbidden.contains("secrets is forbidden (403)"),
            "{forbidden}"
        );
        assert!(
            forbidden.contains("grant get, list and watch on secrets"),
            "{forbidden}"
        );
    }

    #[test]
    fn a_server_that_cannot_be_reached_is_told_with_the_cause() {
        let cause = std::io::Error::other("connection refused by 192.0.2.1");
        let error = kube::Error::Service(Box::new(cause));
        let error = watcher::Error::InitialListFailed(error);
        let text = describe(&(WatchedKind::ConfigMaps, None), &error);
        assert!(text.starts_with("configmaps in all namespaces"), "{text}");
        assert_eq!(
            text.matches("connection refused by 192.0.2.1").count(),
            1,
            "{text}"
        );
    }
}
