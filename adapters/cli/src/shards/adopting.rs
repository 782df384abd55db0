//! Adoption in a set of journals: the journal of the domain's host adopts it, under a name that no other
//! journal has.

use std::future::Future;

use vsiflow_engine::executor::By;
use vsiflow_workflows::fleet::{Adopting, Adoption};

use super::claims::{Claimed, VSI};
use crate::{args::Common, compose::App, exit::ExitProblem};

/// Adopts a domain; in a set, claims its name first.
///
/// # Errors
/// As for [`adopt`](vsiflow_workflows::fleet::VsiHandle::adopt), and VSI0765.
pub(crate) async fn adopt(
    app: &App,
    common: &Common,
    what: Adopting,
    by: By,
) -> Result<Adoption, ExitProblem> {
    if app.shard().is_none() {
        return Ok(app.fleet.vsis().adopt(what, by).await?);
    }
    adopt_if(app, common, what, by, async { Ok(()) }).await
}

/// Adopts a domain in a journal of a set, unless `check` fails once the name is claimed.
///
/// # Errors
/// As [`adopt`], and those of `check`.
pub(super) async fn adopt_if(
    app: &App,
    common: &Common,
    what: Adopting,
    by: By,
    check: impl Future<Output = Result<(), ExitProblem>>,
) -> Result<Adoption, ExitProblem> {
    let Some(shard) = app.shard() else {
        return Err(ExitProblem::defect("the journal is none of a set"));
    };
    // Before the turn is taken: a host that does not answer must not delay other requests.
    let named = app.fleet.vsis().adoption_name(&what, by.clone());
    let (namespace, name) = Box::pin(named).await?;
    let what = Adopting {
        namespace: Some(namespace.clone()),
        name: Some(name.clone()),
        ..what
    };
    let claimed = Claimed::none(shard)?;
    let _turn = shard.turn.lock().await;
    let adopted = async {
        claimed.take(common, VSI, (&namespace, &name)).await?;
        check.await?;
        Ok(Box::pin(app.fleet.vsis().adopt(what, by)).await?)
    };
    let adopted = Box::pin(adopted).await;
    claimed.settle().await;
    adopted
}
