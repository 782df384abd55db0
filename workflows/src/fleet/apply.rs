//! Takes in what documents ask for.

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_engine::{
    executor::{By, Drive},
    model::{EntityId, EntityState, Failure, FailureClass, Precedence},
    secret::Secret,
};

use super::{
    ErrorKind, Fleet, FleetError,
    index::Known,
    keep::{KnownDisks, Wishes},
};
use crate::{
    delete_vsi,
    phase::Phase,
    provision_vsi,
    spec::{Resolved, ResolvedVsi, desired::FieldChange},
    wanted::vsi_entity,
};

/// What an apply did about one VSI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It is new.
    Created,
    /// Something else is wanted of it now.
    Configured,
    /// Nothing changed.
    Unchanged,
}

/// A VSI that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The VSI's entity; none after a dry run that would have created it.
    pub entity: Option<EntityId>,
    /// What was done.
    pub change: Change,
    /// The fields that differ from what was wanted before.
    pub fields: Vec<FieldChange>,
}

/// The fields that say how vsiflow treats a VSI, not what the VSI is.
const TREATMENT: [&str; 5] = [
    "labels",
    "onDrift",
    "updatePolicy",
    "deletionPolicy",
    CREDENTIALS,
];

/// What opens the image's URL; the image is the same.
const CREDENTIALS: &str = "imageCredentials";

impl Fleet {
    /// Records what is wanted, all of it in one batch or nothing, and begins to work on it. Where
    /// nothing changed and something stands in the way, that is looked at again.
    ///
    /// # Errors
    /// Before anything is recorded: when a VSI of the name is being deleted, or when the change
    /// would rebuild a VSI that was provisioned already.
    pub async fn apply(&self, resolved: Resolved, by: By) -> Result<Vec<Applied>, FleetError> {
        // Before secrets and blobs are written, which need room as well.
        self.engine.takes_wishes()?;
        let known = self.known().await?;
        for vsi in &resolved.vsis {
            self.refuse(vsi, &known).await?;
        }
        let mut wishes = Wishes::default();
        for host in resolved.hosts.into_values() {
            self.host_wish(host, &mut wishes).await?;
        }
        let disks = self.data_disks(&resolved.data_disks, &mut wishes).await?;
        let mut all = Vec::new();
        for vsi in resolved.vsis {
            all.push(self.vsi_wish(vsi, &known, &disks, &mut wishes).await?);
        }
        self.record(wishes, by.clone()).await?;
        let entities: Vec<_> = all.iter().filter_map(|one| one.entity.clone()).collect();
        self.engine.drive(Drive::These(entities.clone())).await?;
        self.look_again(&entities, &by).await?;
        Ok(all)
    }

    /// Says what [`Fleet::apply`] would do; records nothing.
    ///
    /// # Errors
    /// As for [`Fleet::apply`].
    pub async fn apply_dry(&self, resolved: &Resolved) -> Result<Vec<Applied>, FleetError> {
        let known = self.known().await?;
        let mut all = Vec::new();
        for vsi in &resolved.vsis {
            self.refuse(vsi, &known).await?;
            let (change, fields) = match matching(vsi, &known) {
                Some(known) => self.difference(vsi, known).await?,
                None => (Change::Created, Vec::new()),
            };
            let entity = matching(vsi, &known).map(|known| known.entity.clone());
            all.push(applied(vsi, entity, change, fields));
        }
        Ok(all)
    }

    async fn refuse(&self, vsi: &ResolvedVsi, known: &[Known]) -> Result<(), FleetError> {
        let Some(known) = matching(vsi, known) else {
            return Ok(());
        };
        let object = format!("vsi/{}", vsi.desired.full_name());
        if known.phase() == Phase::Deleting || is_going(&known.state) {
            let failure = Failure::new(FailureClass::Blocked, "VSI0702", "it is being deleted")
                .of_object(object)
                .with_remedy("wait until it is gone (`vsiflow delete --wait`), then apply again");
            return Err(FleetError::new(ErrorKind::Blocked, failure));
        }
        let (_, fields) = self.difference(vsi, known).await?;
        let rebuilds: Vec<_> = fields.iter().filter(|field| !is_treatment(field)).collect();
        if known.state.reached == 0 || rebuilds.is_empty() {
            return Ok(());
        }
        let paths: Vec<_> = rebuilds.iter().map(|field| field.path.as_str()).collect();
        let message = format!(
            "a change of {} would rebuild it; nothing was changed",
            paths.join(", ")
        );
        let failure = Failure::new(FailureClass::Blocked, "VSI0701", message)
            .of_object(object)
            .on_host(&known.wanted.vsi.host)
            .with_remedy("undo the change, or delete the VSI and apply again; data disks are kept");
        Err(FleetError::new(ErrorKind::Blocked, failure))
    }

    async fn difference(
        &self,
        vsi: &ResolvedVsi,
        known: &Known,
    ) -> Result<(Change, Vec<FieldChange>), FleetError> {
        let mut newer = vsi.desired.clone();
        newer.uid = known.wanted.vsi.uid;
        let mut fields = known.wanted.vsi.changes(&newer);
        let contract = self.secrets.get(&known.wanted.contract).await?;
        if contract.expose() != vsi.contract.expose() {
            // Neither side is shown: a contract is a secret.
            fields.push(FieldChange {
                path: "contract".to_owned(),
                before: None,
                after: None,
            });
        }
        let credentials = match &known.wanted.image_credentials {
            Some(name) => self.secrets.get(name).await.ok(),
            None => None,
        };
        let bytes = |secret: &Option<Secret>| secret.as_ref().map(|s| s.expose().to_vec());
        if bytes(&credentials) != bytes(&vsi.image_url) {
            fields.push(FieldChange {
                path: CREDENTIALS.to_owned(),
                before: None,
                after: None,
            });
        }
        let change = if fields.is_empty() {
            Change::Unchanged
        } else {
            Change::Configured
        };
        Ok((change, fields))
    }

    /// What one VSI's document leads to.
    async fn vsi_wish(
        &self,
        vsi: ResolvedVsi,
        known: &[Known],
        disks: &KnownDisks,
        wishes: &mut Wishes,
    ) -> Result<Applied, FleetError> {
        let known = matching(&vsi, known);
        let (change, fields) = match known {
            Some(known) => self.difference(&vsi, known).await?,
            None => (Change::Created, Vec::new()),
        };
        let uid = known.map(|known| known.wanted.uid);
        let uid = uid.or(vsi.desired.uid).unwrap_or_else(Uuid::new_v4);
        let entity = vsi_entity(uid).map_err(|error| FleetError::defect(error.to_string()))?;
        let applied = applied(&vsi, Some(entity.clone()), change, fields);
        if change == Change::Unchanged {
            return Ok(applied);
        }
        let only_treatment = known.is_some() && applied.fields.iter().all(is_treatment);
        let settled = known.is_some_and(|known| known.state.is_settled());
        let precedence = if only_treatment && settled {
            Precedence::Record
        } else {
            Precedence::Supersede
        };
        let wanted = self.keep(vsi, uid, known, disks).await?;
        wishes.retire(&entity, &wanted.retired);
        wishes.add(entity, provision_vsi::NAME, precedence, &wanted)?;
        Ok(applied)
    }
}

fn matching<'a>(vsi: &ResolvedVsi, known: &'a [Known]) -> Option<&'a Known> {
    known.iter().find(|known| {
        let same = &known.wanted.vsi;
        same.namespace == vsi.desired.namespace
            && same.name == vsi.desired.name
            && vsi.desired.uid.is_none_or(|uid| uid == known.wanted.uid)
            && !known.is_deleted()
    })
}

fn is_treatment(field: &FieldChange) -> bool {
    let head = field.path.split(['.', '[']).next().unwrap_or_default();
    TREATMENT.contains(&head)
}

fn is_going(state: &EntityState) -> bool {
    let leaving = [delete_vsi::NAME, delete_vsi::FORGET];
    state
        .desired
        .as_ref()
        .is_some_and(|desired| leaving.contains(&desired.workflow.as_str()))
}

fn applied(
    vsi: &ResolvedVsi,
    entity: Option<EntityId>,
    change: Change,
    fields: Vec<FieldChange>,
) -> Applied {
    let (namespace, name) = (vsi.desired.namespace.clone(), vsi.desired.name.clone());
    Applied {
        namespace,
        name,
        entity,
        change,
        fields,
    }
}
