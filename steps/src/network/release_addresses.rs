//! Releases the addresses of a deleted VSI in its networks.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

use super::{reserve_addresses::Reservation, uuid_of};
use crate::ports::{HostPorts, Hosts, NetworkChange};

/// Deletes the reservations of a VSI's cards. The reservations of others are not touched.
///
/// A crash during the step leaves some of them; the next attempt deletes the rest.
pub struct ReleaseAddresses {
    hosts: Arc<dyn Hosts>,
}

/// Parameters of [`ReleaseAddresses`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The host's ID.
    pub host: String,
    /// The cards with their addresses.
    pub cards: Vec<Reservation>,
    /// Whether this journal recorded the intent to reserve them.
    pub recorded: bool,
}

/// What [`ReleaseAddresses`] did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Number of deleted reservations and names.
    pub removed: u64,
}

impl ReleaseAddresses {
    /// The step, acting through these hosts.
    pub fn new(hosts: Arc<dyn Hosts>) -> Self {
        Self { hosts }
    }
}

/// A card's entries in its network; none if that does not exist, or is foreign.
async fn entries(
    cx: &StepContext,
    ports: &HostPorts,
    card: &Reservation,
) -> Result<Vec<NetworkChange>, Failure> {
    let uuid = uuid_of(&cx.journal_id, &card.entity);
    let network = (ports.networks.network(&card.network).await?)
        .filter(|network| network.shape.uuid == Some(uuid));
    Ok(network.map_or_else(Vec::new, |network| card.entries(&network)))
}

#[async_trait]
impl Step for ReleaseAddresses {
    const NAME: &'static str = "release_addresses";
    type Params = Params;
    type Output = Output;

    async fn observe(
        &self,
        cx: &StepContext,
        params: &Params,
    ) -> Result<Observed<Output>, Failure> {
        let nothing = Observed::Present(Output { removed: 0 });
        if !params.recorded {
            return Ok(nothing);
        }
        let ports = self.hosts.host(&params.host).await?;
        for card in &params.cards {
            if !entries(cx, &ports, card).await?.is_empty() {
                return Ok(Observed::Needed);
            }
        }
        Ok(nothing)
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let mut removed: u64 = 0;
        for card in &params.cards {
            let uuid = uuid_of(&cx.journal_id, &card.entity);
            for change in entries(cx, &ports, card).await? {
                let networks = &ports.networks;
                networks
                    .change_network(&card.network, uuid, &change)
                    .await?;
                removed = removed.saturating_add(1);
            }
        }
        Ok(Done::updated(Output { removed }))
    }
}
