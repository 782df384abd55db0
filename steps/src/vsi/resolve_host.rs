//! Checks whether the host can run the VSI.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

use super::{
    define_domain::{self, Secure},
    elsewhere::{self, VsiIdentity},
};
use crate::{
    error,
    ports::{GuestSupport, HostPorts, Hosts, PortError, PortErrorKind},
};

/// Reads the host's facts, and checks that it supports such guests and has the pool.
///
/// The step changes nothing, so a crash during it leaves nothing; the next attempt checks again.
pub struct ResolveHost {
    hosts: Arc<dyn Hosts>,
}

/// Parameters of [`ResolveHost`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The host's ID.
    pub host: String,
    /// The guest's architecture, such as `s390x`.
    pub arch: String,
    /// The storage pool for the VSI's volumes.
    pub pool: String,
    /// Whether the VSI has nothing on the host yet.
    #[serde(default)]
    pub new: bool,
    /// The UID of a VSI that has nothing on the host yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<Uuid>,
    /// The title of its domain.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// Whether the guest's memory is protected from the host.
    #[serde(default, skip_serializing_if = "Secure::is_auto")]
    pub secure: Secure,
}

/// What [`ResolveHost`] found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The host's own name.
    pub hostname: String,
    /// The host's boot ID, if it may be read.
    pub boot_id: Option<String>,
    /// Whether vsiflow may run commands on it.
    pub shell: bool,
    /// The host's support for such guests.
    pub guest: GuestSupport,
}

impl ResolveHost {
    /// The step, acting through these hosts.
    pub fn new(hosts: Arc<dyn Hosts>) -> Self {
        Self { hosts }
    }

    async fn inspect(&self, cx: &StepContext, params: &Params) -> Result<Output, Failure> {
        if let Some(why) = self.hosts.cordoned(&params.host).filter(|_| params.new) {
            return Err(cordoned(&params.host, &why));
        }
        let ports = self.hosts.host(&params.host).await?;
        let facts = ports.host.facts().await?;
        let guest = ports
            .host
            .guest_support(&params.arch)
            .await?
            .ok_or_else(|| {
                error::ARCHITECTURE
                    .failure(format!("the host cannot run {} guests", params.arch))
                    .on_host(ports.host.name())
            })?;
        define_domain::offers(ports.host.name(), &guest, params.secure)?;
        active_pool(&ports, &params.pool).await?;
        if let Some(uuid) = params.uuid {
            // Its addresses are compared before it is defined.
            let vsi = VsiIdentity {
                uid: uuid,
                title: &params.title,
                macs: &[],
            };
            elsewhere::refuse_forgotten(cx, &self.hosts, &params.host, &ports, vsi).await?;
        }
        let (hostname, boot_id, shell) = (facts.hostname, facts.boot_id, facts.shell);
        Ok(Output {
            hostname,
            boot_id,
            shell,
            guest,
        })
    }
}

/// The failure for a cordoned host, with the reason, which may be empty.
pub fn cordoned(host: &str, why: &str) -> Failure {
    let why = match why {
        "" => String::new(),
        why => format!(": {why}"),
    };
    let message = format!("the host is cordoned{why}");
    error::CORDONED.failure(message).on_host(host)
}

async fn active_pool(ports: &HostPorts, name: &str) -> Result<(), Failure> {
    let problem =
        |kind, words: &str| PortError::new(kind, ports.host.name(), format!("pool {name}"), words);
    match ports.storage.pool(name).await? {
        Some(pool) if pool.active => Ok(()),
        Some(_) => Err(problem(PortErrorKind::PoolInactive, "the pool is not active").into()),
        None => Err(problem(PortErrorKind::PoolMissing, "there is no such pool").into()),
    }
}

#[async_trait]
impl Step for ResolveHost {
    const NAME: &'static str = "resolve_host";
    type Params = Params;
    type Output = Output;

    async fn observe(
        &self,
        cx: &StepContext,
        params: &Params,
    ) -> Result<Observed<Output>, Failure> {
        Ok(Observed::Present(self.inspect(cx, params).await?))
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        Ok(Done::present(self.inspect(cx, params).await?))
    }
}
