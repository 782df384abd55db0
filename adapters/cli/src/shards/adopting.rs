//! Adoption in a set: a domain is adopted by the journal of its host, under a name that no other journal has.

use std::future::Future;

use vsiflow_engine::executor::By;
use vsiflow_workflows::fleet::{Adopting, Adoption};

use super::claims::{Claimed, VSI};
use crate::{args::Common, compose::App, exit::ExitProblem};

/// Takes a domain into management, under a claim of its name where the journal is one of a set.
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

/// The same in a journal of a set, unless `check` finds something against it once the name is claimed.
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
    // A host that does not answer holds up nobody else.
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
