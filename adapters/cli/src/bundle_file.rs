//! Opens a bundle: its format, checksums and signature are checked before it is used.

use std::{fs::File, path::Path};

use vsiflow_image::{
    FileError, Folders,
    bundle::{Bundle, BundleError},
};

use crate::{
    exit::{Exit, ExitProblem},
    key_file::public_key,
    off_runtime::off_runtime,
    user_file::unreadable,
};

/// Opens a bundle and checks everything except the images and the signature.
pub(crate) async fn open(path: &Path) -> Result<Bundle<File>, ExitProblem> {
    let file = path.to_owned();
    let opened = off_runtime(move || {
        let file = Folders::Any.open(&file).map_err(|error| match error {
            FileError::Io(error) => error,
            error => std::io::Error::other(error.to_string()),
        });
        Ok(Bundle::open(file?))
    });
    let opened = opened.await?.map_err(|error| unreadable(path, &error))?;
    opened.map_err(|error| unfit(path, &error))
}

/// Checks the signature of a bundle.
pub(crate) async fn check_signature(
    path: &Path,
    bundle: &Bundle<File>,
    key: &Path,
) -> Result<(), ExitProblem> {
    let key = public_key(key).await?;
    let shown = path.display().to_string();
    if bundle.seal().signer().is_none() {
        let remedy = "ask for a signed bundle: `vsiflow bundle create --sign-key FILE`";
        let message = format!("{shown} is not signed");
        return Err(ExitProblem::new(Exit::Failed, "VSI0324", message, remedy));
    }
    bundle.seal().check(&shown, &key).map_err(|violation| {
        let remedy = "do not use the bundle before you know who made it; name that person's public key with --verify-key";
        ExitProblem::new(Exit::Failed, "VSI0325", violation.what, remedy)
    })
}

/// The error for a bundle that cannot be used.
pub(crate) fn unfit(path: &Path, error: &BundleError) -> ExitProblem {
    let (code, remedy) = match error {
        BundleError::Malformed(_) => (
            "VSI0321",
            "copy the bundle again from where it was made and compare both files; if they are equal, have it made again",
        ),
        BundleError::Version(_) => (
            "VSI0322",
            "use the vsiflow that made the bundle, or a newer one",
        ),
        BundleError::Changed { .. } => (
            "VSI0323",
            "copy the bundle again from where it was made; if it persists, check the medium",
        ),
        BundleError::Io(error) => return unreadable(path, error),
    };
    let message = format!("{}: {error}", path.display());
    ExitProblem::new(Exit::Failed, code, message, remedy)
}
