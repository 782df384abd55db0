//! Errors of requests to a cluster, and how they are read from the API server's answers.

use kube::core::response::StatusCause;

/// The API server's reason for a conflict over a field.
const OWNED: &str = "FieldManagerConflict";

/// Error: a request to the cluster was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// The object does not exist.
    #[error("there is no {0}")]
    NotFound(String),
    /// There is no Lease by which the operator would be found.
    #[error("there is no {0}")]
    NoLease(String),
    /// Other field managers own the field.
    #[error("{field} of {object} belongs to {}", .owners.join(" and "))]
    Owned {
        /// The object.
        object: String,
        /// The field.
        field: String,
        /// The managers that own it.
        owners: Vec<String>,
    },
    /// The object was changed since it was read.
    #[error("{0} was changed in the meantime")]
    Changed(String),
    /// The API server refused, or did not answer.
    #[error("{what}: {why}")]
    Refused {
        /// The request.
        what: String,
        /// Why it failed.
        why: String,
    },
    /// The vsiflow process that serves the resource refused.
    #[error("{message}")]
    ServerError {
        /// The error code.
        code: String,
        /// What happened.
        message: String,
        /// What to do.
        remedy: String,
        /// The HTTP status.
        status: u16,
    },
    /// The API server has no `APIService` for subresources.
    #[error("the cluster serves no `subresources.vsiflow.io`: {0}")]
    Unserved(String),
    /// The Lease has no holder.
    #[error("no process holds the Lease {0} now")]
    NoLeaseHolder(String),
}

impl PluginError {
    /// Whether it means that the object does not exist.
    pub(super) fn is_of_nothing(&self) -> bool {
        matches!(
            self,
            Self::NotFound(_) | Self::NoLease(_) | Self::ServerError { status: 404, .. }
        )
    }
}

/// The conflict error, if other managers own the field; none for other errors.
pub(super) fn owned(object: &str, error: &kube::Error) -> Option<PluginError> {
    let kube::Error::Api(status) = error else {
        return None;
    };
    let causes = &status.details.as_ref()?.causes;
    let mut conflicts = causes
        .iter()
        .filter(|cause| cause.reason == OWNED)
        .peekable();
    let field = conflicts.peek()?.field.trim_start_matches('.').to_owned();
    Some(PluginError::Owned {
        object: object.to_owned(),
        field,
        owners: conflicts.map(owner).collect(),
    })
}

/// The manager's name in the API server's message `conflict with "MANAGER" using VERSION`.
fn owner(cause: &StatusCause) -> String {
    let mut parts = cause.message.split('"');
    match (parts.next(), parts.next()) {
        (Some(_), Some(manager)) => manager.to_owned(),
        _ => cause.message.clone(),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::{Status, response::StatusDetails};

    use super::*;

    #[test]
    fn whoever_owns_a_field_is_named() {
        let cause = |manager: &str| StatusCause {
            reason: OWNED.to_owned(),
            message: format!("conflict with \"{manager}\" using hpse.ibm.com/v1"),
            field: ".spec.powerState".to_owned(),
        };
        let status = Status {
            code: 409,
            details: Some(StatusDetails {
                name: String::new(),
                group: String::new(),
                kind: String::new(),
                uid: String::new(),
                causes: vec![cause("helm"), cause("argocd")],
                retry_after_seconds: 0,
            }),
            ..Status::default()
        };
        let error = owned("vsi/web", &kube::Error::Api(Box::new(status))).unwrap();
        assert_eq!(
            error.to_string(),
            "spec.powerState of vsi/web belongs to helm and argocd"
        );
        let other = kube::Error::Api(Box::default());
        assert!(owned("vsi/web", &other).is_none());
    }
}
