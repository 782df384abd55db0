//! Rebuilds the boot disk of a VSI on request (`rebuild`).

use uuid::Uuid;
use vsiflow_engine::{
    executor::By,
    model::{EntityId, Failure, FailureClass, Precedence},
};

use crate::fleet::{
    ErrorKind, FleetError, ReplacementPlace, VsiHandle, apply::is_deleting, store::DesiredUpdates,
};
use crate::{boot_disks, orders, plan::Plan, record::VsiRecord, update_vsi};

fn act(place: ReplacementPlace) -> &'static str {
    match place {
        ReplacementPlace::Beside => orders::REBUILD,
        ReplacementPlace::InPlace => orders::REBUILD_IN_PLACE,
    }
}

impl VsiHandle<'_> {
    /// Makes the boot disk of a VSI again from its image, and begins the work. UUID, MAC addresses and data
    /// disks stay. Returns the plan of the change.
    ///
    /// # Errors
    /// When there is no such VSI, when it is being deleted or was never made, or when it was adopted and no
    /// document says since from which image, or with volumes that vsiflow must not make.
    pub async fn rebuild(
        self,
        namespace: &str,
        name: &str,
        place: ReplacementPlace,
        by: By,
    ) -> Result<(EntityId, Plan), FleetError> {
        let known = self.fleet.find(namespace, name, false).await?;
        let full_name = known.record.vsi.full_name();
        if is_deleting(&known.state) {
            return Err(FleetError::going(&full_name));
        }
        if !boot_disks::was_made(&known.state) {
            let failure = Failure::new(FailureClass::Blocked, "VSI0701", "it was never made yet")
                .of_object(format!("vsi/{full_name}"))
                .with_remedy("wait for its first boot, or `vsiflow retry`");
            return Err(FleetError::new(ErrorKind::Blocked, failure));
        }
        if known.record.unknown.contains("image") {
            let message = "it was adopted, and no document says from which image it is made";
            let failure = Failure::new(FailureClass::Blocked, "VSI0701", message)
                .of_object(format!("vsi/{full_name}"))
                .on_host(&known.record.vsi.host)
                .with_remedy("apply its document, then rebuild it");
            return Err(FleetError::new(ErrorKind::Blocked, failure));
        }
        let ids = self.fleet.secrets.ids().await?;
        let mut record = VsiRecord {
            rebuilt: Some(Uuid::new_v4()),
            restore: false,
            power: known.power(),
            before: known.history(),
            turn: None,
            formats: self.fleet.formats(&known).await?,
            ..VsiRecord::clone(&known.record)
        };
        record.retired.retain(|secret| ids.contains(secret));
        let plan = self.fleet.plan_of_rebuild(&record, &known);
        if let Some(change) = plan.refused().next() {
            let failure = update_vsi::refused(&record, &change.path, &change.why);
            return Err(FleetError::new(ErrorKind::Blocked, failure));
        }
        let (entity, made_from) = (known.entity.clone(), known.made_from());
        let mut updates = DesiredUpdates::default();
        let precedence = Precedence::Supersede;
        updates.add(entity, update_vsi::NAME, precedence, &record, made_from)?;
        let objects = &known.state.objects;
        updates.order(orders::for_boot_disks(&record, objects, act(place), &plan));
        self.fleet.record(updates, by).await?;
        Ok((known.entity, plan))
    }
}
