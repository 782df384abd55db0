//! Which machines hosts are: recorded when they are seen first, and another one only by somebody's word.

use vsiflow_engine::{
    executor::By,
    model::{EntityId, Failure},
};
use vsiflow_steps::error;

use super::{ErrorKind, Fleet, FleetError};
use crate::wanted::{WantedMachine, kind};

impl Fleet {
    /// Tells which machines the journal knows.
    pub(super) async fn take_in_machines(&self) -> Result<(), FleetError> {
        for (_, state) in self.entities_of(kind::MACHINE) {
            if let Some(known) = self.wanted::<WantedMachine>(&state).await? {
                self.reach.is_machine(&known.host, &known.machine);
            }
        }
        Ok(())
    }

    /// Takes the machine that answers as a host by now for that host; what waited for that goes on.
    /// Gives back what it says of itself, and what goes on.
    ///
    /// # Errors
    /// When the journal knows no such host or cannot be written, when the host does not answer, or
    /// does not say which machine it is.
    pub async fn accept_host(
        &self,
        host: &str,
        by: By,
    ) -> Result<(String, Vec<EntityId>), FleetError> {
        self.may_act()?;
        self.host_settings(host)?;
        let ports = self.reach.any_host(host).await.map_err(Failure::from)?;
        ports.host.pin(None);
        let machine = ports.host.machine().await.map_err(Failure::from)?;
        let Some(machine) = machine else {
            return Err(silent(host));
        };
        self.reach.record(host, &machine, by.clone()).await?;
        ports.host.pin(Some(&machine));
        let mut going_on = Vec::new();
        let known = self.known().await?.into_iter();
        for known in known.filter(|known| known.wanted.vsi.host == host) {
            if self.waits_for(&known, error::OTHER_MACHINE) {
                self.engine.retry(known.entity.clone(), by.clone()).await?;
                going_on.push(known.entity);
            }
        }
        Ok((machine, going_on))
    }
}

fn silent(host: &str) -> FleetError {
    let failure = error::OTHER_MACHINE
        .failure("it does not say which machine it is")
        .on_host(host)
        .with_remedy("permit the account to run `cat /etc/machine-id` there");
    FleetError::new(ErrorKind::Blocked, failure)
}
