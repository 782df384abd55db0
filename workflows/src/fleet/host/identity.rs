//! Which machines hosts are: recorded when they are seen first, and another one only by somebody's word.

use vsiflow_engine::{
    executor::By,
    model::{Actor, EntityId, Failure, Precedence, Text},
};
use vsiflow_steps::error;

use crate::fleet::{ErrorKind, Fleet, FleetError, HostHandle, store::DesiredUpdates};
use crate::record::{LibvirtRecord, MachineRecord, kind, machine_entity};

impl HostHandle<'_> {
    /// Takes the machine that answers as a host by now for that host; what waited for that goes on.
    /// Gives back what it says of itself, and what goes on.
    ///
    /// # Errors
    /// When the journal knows no such host or cannot be written, when the host does not answer, or
    /// does not say which machine it is.
    pub async fn accept(self, host: &str, by: By) -> Result<(String, Vec<EntityId>), FleetError> {
        self.fleet.may_act()?;
        self.settings(host)?;
        let ports = self
            .fleet
            .reach
            .any_host(host)
            .await
            .map_err(Failure::from)?;
        ports.host.pin(None);
        ports.host.pin_uuid(None);
        let machine = ports.host.machine().await.map_err(Failure::from)?;
        let seen = ports.host.uuid().await.map_err(Failure::from)?;
        let claimed = self.fleet.reach.claim(host, machine.as_deref()).await;
        claimed.map_err(Failure::from)?;
        let accepted = match (&machine, &seen) {
            (Some(machine), _) => machine.clone(),
            (None, Some(seen)) => format!("libvirt's host UUID {}", seen.uuid),
            (None, None) => return Err(silent(host)),
        };
        let record = MachineRecord {
            host: host.to_owned(),
            machine: machine.clone().unwrap_or_default(),
            libvirt: seen.as_ref().map(LibvirtRecord::first),
        };
        self.fleet.record_machine(record, by.clone()).await?;
        ports.host.pin(machine.as_deref());
        let mut going_on = Vec::new();
        let known = self.fleet.known().await?.into_iter();
        for vsi in known.filter(|known| known.record.vsi.host == host) {
            if self.fleet.waits_for(&vsi, error::OTHER_MACHINE) {
                self.fleet
                    .engine
                    .retry(vsi.entity.clone(), by.clone())
                    .await?;
                going_on.push(vsi.entity);
            }
        }
        Ok((accepted, going_on))
    }
}

impl Fleet {
    /// Tells which machines the journal knows.
    pub(in crate::fleet) async fn register_machines(&self) -> Result<(), FleetError> {
        for (_, _, known) in self.all_desired::<MachineRecord>(kind::MACHINE).await? {
            self.reach.is_machine(&known);
        }
        Ok(())
    }

    /// Records what hosts were seen first, or newly, to say of themselves. A process that is killed
    /// before has not seen it.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub(in crate::fleet) async fn record_machines(&self) -> Result<(), FleetError> {
        if self.engine.observes_only() {
            return Ok(());
        }
        for seen in self.reach.unrecorded() {
            // Of one whose record cannot be read nobody can say that it is another; and nothing can
            // be recorded of it.
            let entity = machine_entity(&seen.host).ok();
            if entity.is_some_and(|entity| self.engine.unreadable(&entity).is_some()) {
                continue;
            }
            let by = By {
                actor: Actor::Engine,
                reason: Text::new("the host says so of itself"),
            };
            self.record_machine(seen, by).await?;
        }
        Ok(())
    }

    async fn record_machine(&self, record: MachineRecord, by: By) -> Result<(), FleetError> {
        let entity = machine_entity(&record.host);
        let entity = entity.map_err(|error| FleetError::defect(error.to_string()))?;
        let mut updates = DesiredUpdates::default();
        updates.add(entity, kind::MACHINE, Precedence::Record, &record, None)?;
        self.record(updates, by).await?;
        self.reach.is_machine(&record);
        Ok(())
    }
}

fn silent(host: &str) -> FleetError {
    let failure = error::OTHER_MACHINE
        .failure("it does not report which machine it is")
        .on_host(host)
        .with_remedy("permit the account to run `cat /etc/machine-id` there");
    FleetError::new(ErrorKind::Blocked, failure)
}
