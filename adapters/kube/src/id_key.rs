//! The key for the IDs of secrets, stored in the operator's own Secret.
//!
//! The installation creates the Secret empty and grants the rights to read and update only that one: a
//! user who may create Secrets can obtain a service account's token. Nothing else is ever read or
//! written in it.

use k8s_openapi::{ByteString, api::core::v1::Secret as SecretObject};
use kube::{Api, Client, api::PostParams};
use vsiflow_engine::secret::Secret;

use crate::{
    api::{CallError, within},
    resource::ID_KEY_TYPE,
};

/// The field of the Secret that holds the key.
const FIELD: &str = "key";
/// How often to try again if another process changes the Secret at the same time.
const TRIES: usize = 3;

/// Error: the key cannot be stored in the cluster.
#[derive(Debug, thiserror::Error)]
pub enum IdKeyError {
    /// The Secret does not exist or has the wrong type, or this process may not use it.
    #[error("{0}")]
    NotThere(String),
    /// The API server gave no clear answer.
    #[error("{0}")]
    Unknown(String),
}

/// Returns the key in the Secret `NAMESPACE/NAME`. If the Secret is empty, stores `own` there and
/// returns it.
///
/// # Errors
/// See [`IdKeyError`]. Without an answer it is unknown which key is valid.
pub async fn agree(
    client: &Client,
    (namespace, name): (&str, &str),
    own: &Secret,
) -> Result<Secret, IdKeyError> {
    let api: Api<SecretObject> = Api::namespaced(client.clone(), namespace);
    for _ in 0..TRIES {
        let mut found = within(api.get(name)).await.map_err(|e| why(name, e))?;
        if found.type_.as_deref() != Some(ID_KEY_TYPE) {
            let message = format!("Secret {name} is not of type {ID_KEY_TYPE}");
            return Err(IdKeyError::NotThere(message));
        }
        let mut data = found.data.take().unwrap_or_default();
        if let Some(ByteString(key)) = data.remove(FIELD) {
            return Ok(Secret::new(key));
        }
        data.insert(FIELD.to_owned(), ByteString(own.expose().to_vec()));
        found.data = Some(data);
        match within(api.replace(name, &PostParams::default(), &found)).await {
            Ok(_) => return Ok(own.clone()),
            // Another process filled it, or it is unknown whether this one did.
            Err(CallError::Conflict | CallError::Failing(_) | CallError::Unanswered(_)) => {}
            Err(error) => return Err(why(name, error)),
        }
    }
    let message = format!("Secret {name} is changed all the time, or does not answer");
    Err(IdKeyError::Unknown(message))
}

fn why(name: &str, error: CallError) -> IdKeyError {
    match error {
        CallError::Gone => IdKeyError::NotThere(format!("there is no Secret {name}")),
        CallError::Denied(words) | CallError::Refused(words) => IdKeyError::NotThere(words),
        other => IdKeyError::Unknown(other.to_string()),
    }
}
