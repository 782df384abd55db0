//! Keys of people in files: those that sign, and those that signatures are checked with.

use std::path::Path;

use vsiflow_engine::audit::{InvalidKey, PublicKey, SigningKey};

use crate::{
    exit::{Exit, ExitProblem},
    user_file::small,
};

/// Reads a private key, if one is named.
pub(crate) async fn signing_key(path: Option<&Path>) -> Result<Option<SigningKey>, ExitProblem> {
    let Some(path) = path else { return Ok(None) };
    let key = SigningKey::read(&small(path).await?);
    key.map(Some).map_err(|error| unusable(path, &error))
}

/// Reads a public key.
pub(crate) async fn public_key(path: &Path) -> Result<PublicKey, ExitProblem> {
    PublicKey::read(&small(path).await?).map_err(|error| unusable(path, &error))
}

/// The text of a file that is a public key.
pub(crate) async fn public_key_text(path: &Path) -> Result<String, ExitProblem> {
    let text = small(path).await?;
    match PublicKey::read(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(unusable(path, &error)),
    }
}

fn unusable(path: &Path, error: &InvalidKey) -> ExitProblem {
    let message = format!("{}: {error}", path.display());
    let remedy = "name an Ed25519 key, such as `ssh-keygen -t ed25519` makes";
    ExitProblem::new(Exit::Usage, "VSI0905", message, remedy)
}
