//! Server types: the built-in ones, and those from documents.
//!
//! A virtual server retains the values that its type had when it was made. So a type may be changed and
//! deleted at any time.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    executor::By,
    model::{EntityId, Name, Precedence},
};

use super::{
    Fleet, FleetError, ServerTypeHandle,
    apply::{Applied, Change},
    store::DesiredUpdates,
};
use crate::{
    plan::{self, How},
    record::kind,
    spec::server_type::{DesiredServerType, SERVER_TYPES, ServerTypeSpec, TypeGuest},
};

/// A server type in the journal; without a spec, a deleted one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct TypeRecord {
    #[serde(default)]
    spec: Option<ServerTypeSpec>,
}

/// A server type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerTypeObject {
    /// Its name.
    pub name: String,
    /// Virtual processors.
    pub cpus: u32,
    /// Memory, as documents write it.
    pub memory: String,
    /// The size of the boot disk, as documents write it; if absent, the size of the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_disk: Option<String>,
    /// The guest settings that apply if a document gives none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guest: Option<TypeGuest>,
    /// Whether it is built in.
    pub built_in: bool,
}

impl ServerTypeObject {
    fn of(name: &str, spec: ServerTypeSpec) -> Result<Self, FleetError> {
        let text = |value: serde_json::Result<serde_json::Value>| match value {
            Ok(serde_json::Value::String(text)) => Ok(text),
            _ => Err(FleetError::defect("a size that is no text")),
        };
        let boot_disk = spec.boot_disk.map(serde_json::to_value);
        Ok(Self {
            name: name.to_owned(),
            cpus: spec.cpus,
            memory: text(serde_json::to_value(spec.memory))?,
            boot_disk: boot_disk.map(text).transpose()?,
            guest: Some(spec.guest).filter(|guest| *guest != TypeGuest::default()),
            built_in: false,
        })
    }
}

fn built_in() -> impl Iterator<Item = ServerTypeObject> {
    SERVER_TYPES.into_iter().map(|size| ServerTypeObject {
        name: size.name.to_owned(),
        cpus: size.cpus,
        memory: size.memory.to_owned(),
        boot_disk: Some(size.boot_disk.to_owned()),
        guest: None,
        built_in: true,
    })
}

impl ServerTypeHandle<'_> {
    /// All types: the built-in ones, then those from documents by name.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn list(self) -> Result<Vec<ServerTypeObject>, FleetError> {
        let mut types: Vec<_> = built_in().collect();
        // Entities are listed in the order of their names.
        for (entity, _, record) in self.fleet.all_desired::<TypeRecord>(kind::TYPE).await? {
            if let Some(spec) = record.spec {
                types.push(ServerTypeObject::of(entity.id(), spec)?);
            }
        }
        Ok(types)
    }

    /// Deletes a type. Virtual servers that were made from it stay as they are.
    ///
    /// # Errors
    /// When no document defines a type of that name, or the journal cannot be written.
    pub async fn delete(self, name: &str, by: By) -> Result<(), FleetError> {
        if self.fleet.server_type(name).await?.is_none() {
            return Err(FleetError::not_found("type", name));
        }
        let mut updates = DesiredUpdates::default();
        record(&mut updates, name, &TypeRecord { spec: None })?;
        self.fleet.record(updates, by).await
    }

    /// Whether a document defines a type of that name.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn has(self, name: &str) -> Result<bool, FleetError> {
        Ok(self.fleet.server_type(name).await?.is_some())
    }
}

impl Fleet {
    async fn server_type(&self, name: &str) -> Result<Option<ServerTypeSpec>, FleetError> {
        let entity = EntityId::new(Name::of(kind::TYPE), name).ok();
        match entity.and_then(|entity| self.engine.entity(&entity)) {
            Some(state) => {
                let record: Option<TypeRecord> = self.read_record(&state).await?;
                Ok(record.and_then(|record| record.spec))
            }
            None => Ok(None),
        }
    }

    /// Drafts the change of each type's document.
    pub(super) async fn draft_types(
        &self,
        types: &[DesiredServerType],
        updates: &mut DesiredUpdates,
    ) -> Result<Vec<Applied>, FleetError> {
        let mut all = Vec::new();
        for DesiredServerType { name, spec } in types {
            let before = self.server_type(name).await?;
            let change = match &before {
                None => Change::Created,
                Some(before) if before == spec => Change::Unchanged,
                Some(_) => Change::Configured,
            };
            // No run works on a type, so callers do not wait for it.
            let mut applied = Applied::unplanned(kind::TYPE, "default", name, None, change);
            if change == Change::Configured {
                applied.plan.changes.push(changed(before.as_ref(), spec)?);
            }
            if change != Change::Unchanged {
                let spec = Some(spec.clone());
                record(updates, name, &TypeRecord { spec })?;
            }
            all.push(applied);
        }
        Ok(all)
    }
}

fn changed(
    before: Option<&ServerTypeSpec>,
    after: &ServerTypeSpec,
) -> Result<plan::PlannedChange, FleetError> {
    let defect = |error: serde_json::Error| FleetError::defect(error.to_string());
    Ok(plan::PlannedChange {
        path: "spec".to_owned(),
        before: before
            .map(serde_json::to_value)
            .transpose()
            .map_err(defect)?,
        after: Some(serde_json::to_value(after).map_err(defect)?),
        how: How::Recorded,
        why: "virtual servers that were made of it stay as they are".to_owned(),
    })
}

fn record(updates: &mut DesiredUpdates, name: &str, record: &TypeRecord) -> Result<(), FleetError> {
    let entity = EntityId::new(Name::of(kind::TYPE), name);
    let entity = entity.map_err(|error| FleetError::defect(error.to_string()))?;
    updates.add(entity, kind::TYPE, Precedence::Record, record, None)
}
