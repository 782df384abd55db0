//! The machine identity of hosts. It is recorded when a host is first seen; another machine is accepted
//! only when a person says so.

use vsiflow_engine::{
    executor::By,
    model::{Actor, EntityId, Failure, Precedence, Text},
};
use vsiflow_steps::error;

use crate::fleet::{ErrorKind, Fleet, FleetError, HostHandle, store::DesiredUpdates};
use crate::record::{LibvirtRecord, MachineRecord, kind, machine_entity};

impl HostHandle<'_> {
    /// Accepts the machine that answers now as the host's machine, and retries the VSIs that waited for
    /// that. Returns what the machine reports about itself, and the retried VSIs.
    ///
    /// # Errors
    /// When the journal does not know the host or cannot be written, when the host does not answer, or when
    /// it does not report which machine it is.
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
            (None, None) => return Err(no_identity(host)),
        };
        let record = MachineRecord {
            host: host.to_owned(),
            machine: machine.clone().unwrap_or_default(),
            libvirt: seen.as_ref().map(LibvirtRecord::first),
        };
        self.fleet.record_machine(record, by.clone()).await?;
        ports.host.pin(machine.as_deref());
        let mut retried = Vec::new();
        let known = self.fleet.known().await?.into_iter();
        for vsi in known.filter(|known| known.record.vsi.host == host) {
            if self.fleet.waits_for(&vsi, error::OTHER_MACHINE) {
                self.fleet
                    .engine
                    .retry(vsi.entity.clone(), by.clone())
                    .await?;
                retried.push(vsi.entity);
            }
        }
        Ok((accepted, retried))
    }
}

impl Fleet {
    /// Registers the machines of hosts that the journal knows.
    pub(in crate::fleet) async fn register_machines(&self) -> Result<(), FleetError> {
        for (_, _, known) in self.all_desired::<MachineRecord>(kind::MACHINE).await? {
            self.reach.is_machine(&known);
        }
        Ok(())
    }

    /// Records the machine identities that hosts newly reported. If the process is killed before, they
    /// count as not seen.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub(in crate::fleet) async fn record_machines(&self) -> Result<(), FleetError> {
        if self.engine.observes_only() {
            return Ok(());
        }
        for seen in self.reach.unrecorded() {
            // If the host's record cannot be read, it is unknown whether this is another machine; and
            // nothing can be recorded of it.
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

fn no_identity(host: &str) -> FleetError {
    let failure = error::OTHER_MACHINE
        .failure("it does not report which machine it is")
        .on_host(host)
        .with_remedy("permit the account to run `cat /etc/machine-id` there");
    FleetError::new(ErrorKind::Blocked, failure)
}
