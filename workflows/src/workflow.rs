//! All workflows, by name.

use std::time::Duration;

use vsiflow_engine::{
    model::{EntityId, EntityState, Failure, FailureClass, Graph, Name, Text},
    workflow::{DestructionOrder, EntityView, Situation, Workflows},
};

use crate::{
    adopt_vsi, boot_disks, data_disk, delete_vsi, ensure_base_image, network, next_try, one_host,
    orders, phase, provision_vsi, record, remove_base_image, snapshot, update_vsi,
};

/// The workflows of VSIs, their base images and data disks.
#[derive(Clone, Copy, Debug, Default)]
pub struct VsiWorkflows;

impl Workflows for VsiWorkflows {
    fn graph(&self, at: &Situation<'_>, workflow: &Name, desired: &[u8]) -> Result<Graph, Failure> {
        if [delete_vsi::NAME, data_disk::DELETE, snapshot::DELETE].contains(&workflow.as_str()) {
            orders::check_deletion(at.id, at.entity)?;
        }
        match workflow.as_str() {
            provision_vsi::NAME | update_vsi::NAME if delete_vsi::is_gone(at) => {
                // It is made again, or was changed while it is made again.
                provision_vsi::graph(&record::read(desired)?, at)
            }
            provision_vsi::NAME if boot_disks::was_made(at.entity) => {
                // Its guest may have written to its disks: only what the plan names is done.
                update_vsi::graph(&record::read(desired)?, at)
            }
            provision_vsi::NAME => {
                let record = record::read(desired)?;
                one_host::refuse_second_host(&record, at)?;
                provision_vsi::graph(&record, at)
            }
            update_vsi::NAME => update_vsi::graph(&record::read(desired)?, at),
            adopt_vsi::NAME => adopt_vsi::graph(&record::read(desired)?),
            delete_vsi::NAME => delete_vsi::graph(&record::read(desired)?, at.entity),
            delete_vsi::FORGET => delete_vsi::forget_graph(&record::read(desired)?),
            ensure_base_image::NAME => ensure_base_image::graph(&record::read(desired)?),
            remove_base_image::NAME => remove_base_image::graph(&record::read(desired)?),
            data_disk::NAME => data_disk::graph(&record::read(desired)?, at.id),
            data_disk::DELETE => data_disk::delete_graph(&record::read(desired)?, at.id, at.entity),
            data_disk::FORGET => data_disk::forget_graph(&record::read(desired)?),
            snapshot::NAME => snapshot::graph(&record::read(desired)?, at.entity),
            snapshot::DELETE => snapshot::delete_graph(&record::read(desired)?, at.id, at.entity),
            snapshot::FORGET => snapshot::forget_graph(&record::read(desired)?),
            network::NAME => network::graph(&record::read(desired)?),
            network::DELETE => network::delete_graph(&record::read(desired)?, at.entity),
            network::FORGET => network::forget_graph(&record::read(desired)?),
            other => Err(unknown(other)),
        }
    }

    fn state(&self, view: &EntityView<'_>) -> Option<(Name, Text)> {
        phase::state(view)
    }

    fn standing_order(
        &self,
        entity: &EntityId,
        state: &EntityState,
        object: &str,
    ) -> Option<DestructionOrder> {
        orders::standing(entity, state, object)
    }

    fn next_try(&self, _entity: &EntityId, state: &EntityState) -> Option<Duration> {
        next_try::delay(state)
    }
}

fn unknown(workflow: &str) -> Failure {
    let message = format!("this binary has no workflow {workflow}");
    Failure::new(FailureClass::Blocked, "VSI0005", message)
        .with_remedy("run the vsiflow that recorded it, or apply the document again")
}
