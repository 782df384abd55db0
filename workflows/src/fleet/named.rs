//! Objects by the names that users give them.

use std::collections::BTreeSet;

use vsiflow_engine::model::EntityId;

use super::{Fleet, FleetError, Fleets, Metadata};
use crate::kinds::ObjectKind;

/// An object that a request names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedObject {
    /// Its entity.
    pub entity: EntityId,
    /// Its namespace.
    pub namespace: String,
    /// Its name, without its kind.
    pub name: String,
}

impl Fleet {
    /// The objects with these names, such as `web`, `prod/web` or `pool/web`, each once. A network is one object for each
    /// of its hosts.
    ///
    /// # Errors
    /// `VSI0703` if there is no such object.
    pub async fn objects_named(
        &self,
        namespace: &str,
        names: &[String],
    ) -> Result<Vec<NamedObject>, FleetError> {
        let mut objects = Vec::new();
        for name in names {
            objects.extend(self.object_named(namespace, name).await?);
        }
        let mut seen = BTreeSet::new();
        objects.retain(|object: &NamedObject| seen.insert(object.entity.clone()));
        Ok(objects)
    }

    async fn object_named(
        &self,
        namespace: &str,
        qualified: &str,
    ) -> Result<Vec<NamedObject>, FleetError> {
        let (kind, name) = ObjectKind::of_name(qualified);
        let entities = match kind {
            ObjectKind::Pool => vec![self.pools().find(namespace, name).await?],
            ObjectKind::Group => vec![self.groups().find(namespace, name).await?],
            ObjectKind::Network => self.networks().find(namespace, name).await?,
            ObjectKind::Snapshot => vec![self.snapshots().find(namespace, name).await?],
            ObjectKind::Disk => vec![self.disks().find(namespace, name).await?],
            ObjectKind::Vsi => vec![self.vsis().find(namespace, name).await?],
            _ => return Err(FleetError::not_found(kind.word(), name)),
        };
        let (own_namespace, bare) = name.split_once('/').unwrap_or((namespace, name));
        let objects = entities.into_iter().map(|entity| NamedObject {
            entity,
            namespace: own_namespace.to_owned(),
            name: bare.to_owned(),
        });
        Ok(objects.collect())
    }

    /// These VSIs with their names; what is no VSI any more is left out.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn vsis_of(&self, entities: &[EntityId]) -> Result<Vec<NamedObject>, FleetError> {
        let vsis = self.vsis().list(false).await?;
        let named = entities.iter().filter_map(|entity| {
            let vsi = vsis.iter().find(|vsi| vsi.metadata.uid == entity.id())?;
            Some(NamedObject {
                entity: entity.clone(),
                namespace: vsi.metadata.namespace.clone(),
                name: vsi.metadata.name.clone(),
            })
        });
        Ok(named.collect())
    }
}

impl Fleets {
    /// The same names with pools and groups replaced by their members, as `NAMESPACE/NAME`.
    ///
    /// # Errors
    /// `VSI0703` if there is no such pool or group.
    pub async fn with_members(
        &self,
        namespace: &str,
        names: &[String],
    ) -> Result<Vec<String>, FleetError> {
        let mut replaced = BTreeSet::new();
        for qualified in names {
            let (kind, name) = ObjectKind::of_name(qualified);
            let (own_namespace, bare) = name.split_once('/').unwrap_or((namespace, name));
            let is_named =
                |metadata: &Metadata| metadata.namespace == own_namespace && metadata.name == bare;
            let missing = || FleetError::not_found(kind.word(), name);
            let members: Vec<String> = match kind {
                ObjectKind::Pool => {
                    let mut pools = self.pools(false).await?.into_iter();
                    let pool = pools.find(|pool| is_named(&pool.metadata));
                    let members = pool.ok_or_else(missing)?.status.members.into_iter();
                    members.map(|member| member.name).collect()
                }
                ObjectKind::Group => {
                    let mut groups = self.groups(false).await?.into_iter();
                    let group = groups.find(|group| is_named(&group.metadata));
                    let waves = group.ok_or_else(missing)?.status.waves.into_iter();
                    let items = waves.flat_map(|wave| wave.items);
                    let members = items.flat_map(|item| item.members);
                    members.map(|member| member.name).collect()
                }
                _ => {
                    replaced.insert(qualified.clone());
                    continue;
                }
            };
            replaced.extend(
                members
                    .iter()
                    .map(|member| format!("{own_namespace}/{member}")),
            );
        }
        Ok(replaced.into_iter().collect())
    }
}
