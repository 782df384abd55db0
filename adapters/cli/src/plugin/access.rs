//! The plugin's access to the cluster, and the cluster's errors.

use vsiflow_kube::plugin::{Cluster, PluginError};

use super::args::AccessArgs;
use crate::exit::{Exit, ExitProblem};

/// The cluster, and the options for kubectl to reach it.
pub(super) struct ClusterAccess<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) access: &'a AccessArgs,
}

/// A cluster error as a problem for the user.
pub(super) fn problem(error: PluginError) -> ExitProblem {
    let (exit, code, remedy) = match &error {
        PluginError::ServerError {
            code,
            remedy,
            status,
            ..
        } => {
            let exit = match status {
                404 => Exit::NotFound,
                409 => Exit::Blocked,
                _ => Exit::Failed,
            };
            (exit, code.as_str(), remedy.clone())
        }
        PluginError::Unserved(_) => (
            Exit::Failed,
            "VSI1024",
            "see that the operator runs and what `kubectl get apiservice v1.subresources.vsiflow.io` \
             says; where there is none, name the operator's Lease with --operator NAMESPACE/LEASE"
                .to_owned(),
        ),
        PluginError::NoLease(_) => (
            Exit::NotFound,
            "VSI1022",
            "name the Lease with --operator NAMESPACE/LEASE or $VSIFLOW_OPERATOR, or a pod with \
             --pod NAMESPACE/POD"
                .to_owned(),
        ),
        PluginError::NotFound(_) => (
            Exit::NotFound,
            "VSI0703",
            "`kubectl get vsi -A` lists all of them; name the namespace with -n".to_owned(),
        ),
        PluginError::Owned { owners, .. } => (Exit::Blocked, "VSI1021", owner_hint(owners)),
        PluginError::Changed(_) => (
            Exit::Failed,
            "VSI1020",
            "check its present state, then run the command again".to_owned(),
        ),
        PluginError::Refused { .. } => (
            Exit::Failed,
            "VSI1020",
            "`kubectl auth can-i` shows what this user may do; --context and -n select the place"
                .to_owned(),
        ),
        PluginError::NoLeaseHolder(_) => (
            Exit::Failed,
            "VSI1022",
            "see that the operator runs: `kubectl get pods -A -l app.kubernetes.io/name=vsiflow`"
                .to_owned(),
        ),
    };
    ExitProblem::new(exit, code, error.to_string(), &remedy)
}

/// A hint where to change a field, derived from its field managers.
fn owner_hint(owners: &[String]) -> String {
    let any = |words: &[&str]| {
        let has = |owner: &String| words.iter().any(|word| owner.to_lowercase().contains(word));
        owners.iter().any(has)
    };
    let where_it_is = if any(&["argo", "flux", "kustomize-controller", "gitops", "fleet"]) {
        "change powerState in the repository that is applied from"
    } else if any(&["helm"]) {
        "change powerState in the chart's values or template, and upgrade the release"
    } else if any(&["kubectl", "before-first-apply"]) {
        "change powerState in the file that was applied, and apply it again (`kubectl edit` \
         changes the resource alone, until the file is applied next)"
    } else if any(&["vsiflow"]) {
        "give the command again"
    } else {
        "change powerState there"
    };
    format!("{where_it_is}; if powerState is removed there, this command may set it")
}

#[cfg(test)]
mod tests {
    use super::owner_hint;

    #[test]
    pub(super) fn whoever_owns_the_field_is_where_it_is_changed() {
        let hint = |owner: &str| owner_hint(&[owner.to_owned()]);
        assert!(hint("argocd-controller").contains("repository"));
        assert!(hint("helm").contains("chart"));
        assert!(hint("kubectl-client-side-apply").contains("file"));
        assert!(hint("something").contains("there"));
    }
}
