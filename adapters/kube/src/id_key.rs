//! The key that makes the ids of secrets, in a Secret of the operator's own.
//!
//! It is there from the start, empty, with the rights to read and to fill that one: whoever may make
//! Secrets can have a service account's token made. Nothing else is ever read or written there.

use k8s_openapi::{ByteString, api::core::v1::Secret as SecretObject};
use kube::{Api, Client, api::PostParams};
use vsiflow_engine::secret::Secret;

use crate::{
    api::{CallError, within},
    resource::ID_KEY_TYPE,
};

/// Where in it the key is.
const FIELD: &str = "key";
/// Whoever fills it at the same time is let go first that often.
const TRIES: usize = 3;

/// Why the key is not kept in the cluster.
#[derive(Debug, thiserror::Error)]
pub enum IdKeyError {
    /// There is no such Secret, or not for this process.
    #[error("{0}")]
    NotThere(String),
    /// It cannot be told.
    #[error("{0}")]
    Unknown(String),
}

/// The key in the Secret `NAMESPACE/NAME`; where that is empty yet, `own`, which it holds from then
/// on.
///
/// # Errors
/// See [`IdKeyError`]. Without an answer nobody knows which key counts.
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
            // Somebody filled it meanwhile, or it is not known whether this did.
            Err(CallError::Conflict | CallError::Other(_)) => {}
            Err(error) => return Err(why(name, error)),
        }
    }
    let message = format!("Secret {name} is changed all the time, or does not answer");
    Err(IdKeyError::Unknown(message))
}

fn why(name: &str, error: CallError) -> IdKeyError {
    match error {
        CallError::Gone => IdKeyError::NotThere(format!("there is no Secret {name}")),
        CallError::Refused(words) => IdKeyError::NotThere(words),
        other => IdKeyError::Unknown(other.to_string()),
    }
}
