//! Templates of pools: makes their records, and plans their changes.

use serde_json::to_vec;
use uuid::Uuid;
use vsiflow_engine::{
    model::{Hash, Name},
    secret::{Secret, SecretError},
};

use crate::fleet::{Fleet, FleetError, pool::members::attached};
use crate::{
    plan::{self, Plan, Touched},
    pool::{PoolRecord, TemplateRecord},
    record::VsiRecord,
    spec::{DesiredVsi, ResolvedPool, placement::DesiredPlacement},
};

/// The placeholder name of a secret that is not stored yet.
const PLACEHOLDER: &str = "new";
/// The length of a revision, in digits.
const DIGITS: usize = 10;

impl Fleet {
    /// The template that a document describes. A secret that an earlier template has keeps its name, so
    /// that equal templates have equal revisions. A `dry` run stores nothing.
    pub(super) async fn template(
        &self,
        pool: &ResolvedPool,
        known: Option<&PoolRecord>,
        dry: bool,
    ) -> Result<TemplateRecord, FleetError> {
        let earlier: Vec<_> = known.into_iter().flat_map(PoolRecord::templates).collect();
        self.template_after(pool, &earlier, dry).await
    }

    /// The template that a document describes; `earlier` are the templates before it, the newest first.
    pub(in crate::fleet) async fn template_after(
        &self,
        pool: &ResolvedPool,
        earlier: &[&TemplateRecord],
        dry: bool,
    ) -> Result<TemplateRecord, FleetError> {
        let contracts: Vec<_> = earlier.iter().map(|one| &one.contract).collect();
        let contract = match contracts.first() {
            Some(recorded) if pool.template.retains_user_data => (*recorded).clone(),
            _ => {
                let secret = pool.template.contract.clone();
                self.named_secret(&contracts, secret, dry).await?
            }
        };
        let urls = earlier
            .iter()
            .filter_map(|one| one.image_credentials.as_ref());
        let urls: Vec<_> = urls.collect();
        let image_credentials = match &pool.template.image_url {
            Some(url) => Some(self.named_secret(&urls, url.clone(), dry).await?),
            None => None,
        };
        let mut vsi = pool.template.desired.clone();
        vsi.uid = None;
        if let Some(before) = earlier.first() {
            vsi.machine.keep_rounding_of(&before.vsi.machine);
        }
        let mut template = TemplateRecord {
            revision: String::new(),
            vsi: Box::new(vsi),
            contract,
            image_credentials,
            disks: pool.desired.disks.clone(),
            names_guests: pool.desired.names_guests,
            evictable: pool.desired.evictable,
        };
        let mut named = template.clone();
        *named.vsi = compared(&named.vsi);
        let bytes = to_vec(&named).map_err(|error| FleetError::defect(error.to_string()))?;
        template.revision = Hash::of(&bytes).to_string().chars().take(DIGITS).collect();
        Ok(template)
    }

    /// The name under which this secret is stored.
    async fn named_secret(
        &self,
        earlier: &[&Name],
        secret: Secret,
        dry: bool,
    ) -> Result<Name, FleetError> {
        for (place, name) in earlier.iter().enumerate() {
            match self.secrets.recognise(name, &secret).await {
                Ok(true) => return Ok((*name).clone()),
                Ok(false) => {}
                // The newest secret is lost, so it is unknown whether this one differs. As with a VSI,
                // this one is stored in its place, and no member is replaced for it.
                Err(SecretError::Missing(_)) if place == 0 => {
                    if !dry {
                        self.secrets.put_back(name, secret).await?;
                    }
                    return Ok((*name).clone());
                }
                Err(SecretError::Missing(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if dry {
            Ok(Name::of(PLACEHOLDER))
        } else {
            Ok(self.secrets.put(secret).await?)
        }
    }
}

/// What counts in comparisons of templates: their candidate hosts do not.
pub(super) fn compared(template: &DesiredVsi) -> DesiredVsi {
    DesiredVsi {
        placement: template.placement.as_ref().map(DesiredPlacement::compared),
        ..template.clone()
    }
}

/// The plan of a member for a change from one template to another.
pub(in crate::fleet) fn plan(before: &TemplateRecord, after: &TemplateRecord) -> Plan {
    let before = record(before).inputs(0, true);
    plan::of(&before, &record(after), &Touched::default())
}

/// A template in the form of a VSI's record, only for comparison.
pub(in crate::fleet) fn record(template: &TemplateRecord) -> VsiRecord {
    let mut vsi = template.vsi.as_ref().clone();
    vsi.disks = template.disks.iter().map(attached).collect();
    VsiRecord {
        image_credentials: template.image_credentials.clone(),
        ..VsiRecord::new(Uuid::nil(), template.contract.clone(), vsi)
    }
}
