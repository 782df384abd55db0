//! Adopts a domain that already exists.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

use crate::{
    error, guards, ownership,
    ports::{DomainInfo, DomainShape, DomainState, HostPorts, Hosts, OwnerMark, VolumeKey},
};

/// Writes our mark into the domain's metadata; nothing else of it changes, and its guest is not affected. The
/// journal records its boot disk, if that has one of our names, and its data disks: the guest writes to them.
///
/// Later drift scans compare with its current definition. A crash during the step leaves the old mark or
/// the new one, which names this run.
pub struct AdoptDomain {
    hosts: Arc<dyn Hosts>,
}

/// Parameters of [`AdoptDomain`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The host's ID.
    pub host: String,
    /// The domain.
    pub uuid: Uuid,
    /// The mark it had when the adoption was requested: the step refuses a domain that was changed since.
    #[serde(default)]
    pub previous_owner: Option<OwnerMark>,
    /// Its boot disk, if that has one of our names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<VolumeKey>,
    /// The volumes of its data disks that this journal has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data_disks: Vec<VolumeKey>,
}

/// What [`AdoptDomain`] found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The domain's name.
    pub name: String,
    /// Its state.
    pub state: DomainState,
    /// The stored definition.
    pub written: Option<DomainShape>,
    /// The host's boot ID, if it may be read.
    #[serde(default)]
    pub boot_id: Option<String>,
}

impl AdoptDomain {
    /// The step, acting through these hosts.
    pub fn new(hosts: Arc<dyn Hosts>) -> Self {
        Self { hosts }
    }
}

#[async_trait]
impl Step for AdoptDomain {
    const NAME: &'static str = "adopt_domain";
    type Params = Params;
    type Output = Output;

    async fn observe(
        &self,
        cx: &StepContext,
        params: &Params,
    ) -> Result<Observed<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let domain = find(&ports, params.uuid).await?;
        let mark = ownership::mark(cx, params.uuid);
        if domain.mark.as_ref() == Some(&mark) {
            record_disks(cx, &ports, params).await?;
            return Ok(Observed::Present(output(&ports, domain).await?));
        }
        if domain.mark != params.previous_owner {
            return Err(error::NOT_OURS
                .failure("the domain was touched since it was to be adopted")
                .on_host(ports.host.name())
                .of_object(format!("domain {}", params.uuid)));
        }
        Ok(Observed::Needed)
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let mark = ownership::mark(cx, params.uuid);
        ports.domains.set_mark(params.uuid, &mark).await?;
        record_disks(cx, &ports, params).await?;
        let domain = find(&ports, params.uuid).await?;
        Ok(Done::updated(output(&ports, domain).await?))
    }
}

async fn record_disks(cx: &StepContext, ports: &HostPorts, params: &Params) -> Result<(), Failure> {
    for disk in &params.data_disks {
        guards::record_adopted(cx, ports, disk).await?;
    }
    let Some(boot) = &params.boot else {
        return Ok(());
    };
    guards::record_made(cx, ports, boot).await?;
    guards::record_in_use(cx, boot).await
}

async fn find(ports: &HostPorts, uuid: Uuid) -> Result<DomainInfo, Failure> {
    ports.domains.domain(uuid).await?.ok_or_else(|| {
        error::MISSING
            .failure("the domain to adopt does not exist")
            .on_host(ports.host.name())
            .of_object(format!("domain {uuid}"))
    })
}

async fn output(ports: &HostPorts, domain: DomainInfo) -> Result<Output, Failure> {
    Ok(Output {
        name: domain.name,
        state: domain.state,
        written: Some(domain.stored),
        boot_id: ports.host.facts().await?.boot_id,
    })
}
