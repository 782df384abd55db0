//! Releases the addresses of VSIs that were forgotten.

use vsiflow_engine::{
    executor::By,
    model::{EntityId, Failure, FailureClass, Name, Precedence},
    workflow::DesiredUpdate,
};

use crate::{
    delete_vsi,
    fleet::{ErrorKind, Fleet, FleetError, VsiHandle, index::Known, object::qualified},
    forgotten,
};

impl VsiHandle<'_> {
    /// Releases the addresses of the forgotten VSIs with this name or UID, and their reservations on their
    /// hosts. With `orphan`, hosts are not asked, and the reservations stay there.
    ///
    /// # Errors
    /// `VSI0703` if no VSI of that name was forgotten; `VSI0758` if its domain still exists on its host; any
    /// error of that host.
    pub async fn release_addresses(
        self,
        namespace: &str,
        name: &str,
        orphan: bool,
        by: By,
    ) -> Result<Vec<EntityId>, FleetError> {
        self.fleet.may_act()?;
        let (namespace, name) = qualified(namespace, name);
        let mut forgotten = self.fleet.known_named(namespace, name).await?;
        forgotten.retain(|known| {
            let vsi = &known.record.vsi;
            let named = vsi.namespace == namespace && vsi.name == name;
            (named || known.entity.id() == name) && self.fleet.is_forgotten(&known.entity)
        });
        if forgotten.is_empty() {
            return Err(FleetError::not_found("forgotten vsi", name));
        }
        let mut updates = Vec::new();
        for known in forgotten {
            if !orphan {
                self.fleet.refuse_while_defined(&known).await?;
            }
            let record = forgotten::without_addresses(&known.record, orphan);
            let desired = serde_json::to_vec(&record)
                .map_err(|error| FleetError::defect(error.to_string()))?;
            updates.push(DesiredUpdate {
                entity: known.entity.clone(),
                workflow: Name::of(delete_vsi::FORGET),
                precedence: Precedence::Supreme,
                desired,
                made_from: known.made_from(),
                orders: Vec::new(),
                voids: Vec::new(),
            });
        }
        let entities = updates.iter().map(|update| update.entity.clone()).collect();
        self.fleet.engine.submit(updates, by).await?;
        Ok(entities)
    }
}

impl Fleet {
    /// Refuses to release what a domain on the host may use.
    async fn refuse_while_defined(&self, known: &Known) -> Result<(), FleetError> {
        let (host, uid) = (&known.record.vsi.host, known.record.uid);
        let ports = self.hosts.host(host).await.map_err(Failure::from)?;
        let domain = ports.domains.domain(uid).await.map_err(Failure::from)?;
        if domain.is_none() {
            return Ok(());
        }
        let message = "its domain still exists, so its guest may run with its addresses";
        let failure = Failure::new(FailureClass::Blocked, "VSI0758", message)
            .of_object(format!("vsi/{} ({uid})", known.record.vsi.full_name()))
            .on_host(host)
            .with_remedy(format!(
                "take it over with `vsiflow adopt {uid}` and delete it, or undefine the domain on the host"
            ));
        Err(FleetError::new(ErrorKind::Blocked, failure))
    }
}
