//! The typed resources of `/v1`: reads of the fleet, and actions on it.
//!
//! ```text
//! GET    /v1/virtualservers, /v1/datadisks            [?namespace&deleted]
//! GET    …/NAME/diff                                  ?from[&to], what differs between two moments
//! GET    /v1/namespaces/NS/virtualservers/NAME        …/history [?from&follow], …/logs [?from&follow]
//! POST   …/start, stop, restart, pause, unpause, retry, cancel, approve, rebuild
//! DELETE …/NAME                                       [?orphan&reason&waitSeconds]
//! POST   …/console                                    [?force], changes over to the console's bytes
//! POST   …/vnc                                        changes over to the bytes of the guest's screen
//! GET    /v1/virtualserverpools                       [?namespace&deleted]
//! GET    /v1/namespaces/NS/virtualserverpools/NAME
//! POST   …/scale, rollback, approve, retry
//! DELETE …/NAME                                       [?orphan&reason&waitSeconds]
//! GET    /v1/virtualservergroups                      [?namespace&deleted]
//! GET    /v1/namespaces/NS/virtualservergroups/NAME
//! POST   …/scale, retry, output
//! DELETE …/NAME                                       [?orphan&reason&waitSeconds]
//! GET    /v1/virtualserversnapshots                   [?namespace&deleted]
//! GET    /v1/namespaces/NS/virtualserversnapshots/NAME, …/restore (its plan)
//! POST   …/virtualservers/NAME/snapshots, …/virtualserversnapshots/NAME/restore
//! DELETE …/virtualserversnapshots/NAME                [?orphan&reason&waitSeconds]
//! GET    /v1/virtualserverquotas                      [?namespace]
//! GET, DELETE /v1/namespaces/NS/virtualserverquotas/NAME
//! GET    /v1/hosts, /v1/images, /v1/runs, /v1/virtualservertypes, /v1/networks, /v1/pause
//! POST   /v1/hosts/HOST/cordon, uncordon, drain; /v1/pause, /v1/unpause
//! POST   /v1/apply, /v1/plan                          documents in YAML
//! GET    /v1/events                                   [?from, ?journal], server-sent events
//! ```
//!
//! Lists and objects accept `?at=[JOURNAL:]OFFSET|TIME` and are then as the journal knew them at that
//! moment.
//!
//! In a set of journals, a change to one object is answered by the process that has its journal
//! ([`crate::forwarded`]).
//!
//! Objects are the same as with `-o json`. An action is recorded when the answer arrives; with
//! `waitSeconds` the answer contains the outcome, if there was one in time.

mod actions;
mod commands;
mod console;
mod documents;
mod events;
mod groups;
mod hosts;
mod kinds;
mod objects;
mod pools;
mod resource;
mod snapshots;
mod streams;

use aide::axum::ApiRouter;
use axum::middleware;

pub(crate) use self::resource::{ObjectPath, about};
use crate::{api::Api, caller, forwarded::by_its_journal};

/// Routes that read and answer immediately.
pub(crate) fn view_routes() -> ApiRouter<Api> {
    kinds::view_routes()
        .merge(objects::view_routes())
        .merge(snapshots::view_routes())
        .merge(hosts::view_routes())
}

/// Routes that record or do something, and those that ask hosts.
pub(crate) fn changes() -> ApiRouter<Api> {
    let operates = actions::operates()
        .merge(pools::operates())
        .merge(groups::operates())
        .merge(hosts::changes())
        .merge(objects::host_routes())
        .route_layer(middleware::from_fn(by_its_journal))
        .route_layer(middleware::from_fn(caller::may_operate));
    // Scaling a pool down deletes members, so it is not an operator's action.
    let changes = kinds::changes()
        .merge(actions::changes())
        .merge(pools::changes())
        .merge(groups::changes())
        .merge(snapshots::changes());
    let changes = changes
        .route_layer(middleware::from_fn(by_its_journal))
        .route_layer(middleware::from_fn(caller::may_change));
    operates.merge(changes)
}

/// Routes that stream their answer, or have a body of a special type.
pub(crate) fn streams() -> ApiRouter<Api> {
    streams::view_routes()
        .merge(events::view_routes())
        .merge(documents::changes())
        .merge(console::changes())
}

/// The route for command lines.
pub(crate) fn commands() -> ApiRouter<Api> {
    commands::runs()
}
