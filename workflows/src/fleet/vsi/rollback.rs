//! Rolls a VSI back to an earlier generation.
//!
//! The earlier generation is read from the journal and applied like a document, so the plan, its refusals
//! and the approval are the same as for any change. Secrets of earlier generations are erased once a newer
//! one replaced them. So a generation whose user-data or contract differs from the current one cannot be
//! restored.

use vsiflow_engine::{
    model::{EventKind, Failure, FailureClass, Name, StreamId},
    secret::{Secret, SecretError},
};

use crate::fleet::{ErrorKind, Fleet, FleetError, VsiHandle, index::Known};
use crate::{
    record::{self, VsiRecord},
    spec::{Resolved, ResolvedVsi},
};

/// An earlier desired state of a VSI, to be applied again.
#[derive(Clone, Debug)]
pub struct EarlierVsi {
    /// Its generation.
    pub generation: u64,
    /// The desired state, in the form of resolved documents.
    pub resolved: Resolved,
}

impl VsiHandle<'_> {
    /// The desired state of a VSI at that generation. Without a generation: the newest one that differs
    /// from the current desired state. Records nothing.
    ///
    /// # Errors
    /// `VSI0728` if there is no such generation, its secrets were erased, or the VSI is a member of a pool.
    /// Also when there is no such VSI, or the journal cannot be read.
    pub async fn earlier(
        self,
        namespace: &str,
        name: &str,
        generation: Option<u64>,
    ) -> Result<EarlierVsi, FleetError> {
        let known = self.fleet.find(namespace, name, false).await?;
        if let Some(of) = &known.record.vsi.member_of {
            let why = format!("it is a member of pool/{}", of.pool);
            let next = format!("go back with `vsiflow rollback pool/{}`", of.pool);
            return Err(refused(&known, &why, &next));
        }
        let (generation, earlier) = self.fleet.earlier_desired(&known, generation).await?;
        let contract = self
            .fleet
            .secret_of(&known, generation, &earlier.contract)
            .await?;
        let image_url = match &earlier.image_credentials {
            Some(secret) => Some(self.fleet.secret_of(&known, generation, secret).await?),
            None => None,
        };
        let source = format!("generation {generation}");
        let vsi = ResolvedVsi::of_record(earlier.vsi, contract, image_url, source);
        let resolved = Resolved {
            vsis: vec![vsi],
            ..Resolved::default()
        };
        Ok(EarlierVsi {
            generation,
            resolved,
        })
    }
}

impl Fleet {
    async fn earlier_desired(
        &self,
        known: &Known,
        generation: Option<u64>,
    ) -> Result<(u64, VsiRecord), FleetError> {
        let stream = StreamId::Entity(known.entity.clone());
        for event in self.readable_records(&stream).await?.iter().rev() {
            let EventKind::Desired {
                generation: found,
                desired,
                ..
            } = &event.event.kind
            else {
                continue;
            };
            if generation.is_some_and(|number| number != *found) {
                continue;
            }
            let record: VsiRecord = record::read(&self.blobs.get(desired).await?)?;
            if generation.is_some() || is_other(&record, &known.record) {
                return Ok((*found, record));
            }
        }
        let why = match generation {
            Some(generation) => format!("it has no generation {generation}"),
            None => "nothing else was ever asked of it".to_owned(),
        };
        let next = format!(
            "`vsiflow history {} --events` shows its generations",
            known.record.vsi.name
        );
        Err(refused(known, &why, &next))
    }

    async fn secret_of(
        &self,
        known: &Known,
        generation: u64,
        secret: &Name,
    ) -> Result<Secret, FleetError> {
        self.secrets.get(secret).await.map_err(|error| match error {
            SecretError::Missing(_) => {
                let why = format!("the secrets of generation {generation} were erased");
                refused(known, &why, "apply a document with what it had then")
            }
            // Whether the secret exists is unknown.
            error => error.into(),
        })
    }
}

/// Whether the documents of the two records would differ.
fn is_other(earlier: &VsiRecord, now: &VsiRecord) -> bool {
    (&earlier.vsi, &earlier.contract, &earlier.image_credentials)
        != (&now.vsi, &now.contract, &now.image_credentials)
}

fn refused(known: &Known, why: &str, next: &str) -> FleetError {
    let failure = Failure::new(
        FailureClass::Blocked,
        "VSI0728",
        format!("it cannot go back: {why}"),
    )
    .of_object(format!("vsi/{}", known.record.vsi.name))
    .with_remedy(next);
    FleetError::new(ErrorKind::Blocked, failure)
}
