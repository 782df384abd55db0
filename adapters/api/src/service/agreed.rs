//! Whether an object is the one that somebody agreed to have destroyed: names are given anew, UIDs are not.

use http::StatusCode;
use vsiflow_workflows::{fleet::Fleets, kinds::ObjectKind};

use crate::Problem;

/// Checks that the object with this name has this UID, if one was agreed to.
///
/// # Errors
/// `VSI0811` if it is another one; `VSI0703` if there is none.
pub(super) async fn check(
    fleets: &Fleets,
    namespace: &str,
    name: &str,
    uid: Option<&str>,
) -> Result<(), Problem> {
    let Some(uid) = uid else {
        return Ok(());
    };
    let (kind, bare) = ObjectKind::of_name(name);
    let object = kind.get(fleets, namespace, bare).await?;
    if object.identity().uid == Some(uid) {
        return Ok(());
    }
    let detail = "it is another object than the one that was selected; nothing was done";
    let remedy = "repeat the command, and see what it selects now";
    Err(Problem {
        object: format!("{}/{bare}", kind.word()),
        ..Problem::new(StatusCode::CONFLICT, "VSI0811", detail, remedy)
    })
}
