//! The networks of a VSI: the nodes that wait for them, resolve them, and reserve its addresses.

use vsiflow_engine::{
    model::{Failure, Text},
    step::Step as _,
};
use vsiflow_steps::{
    awaited::Awaited,
    network::{
        AwaitNetworks, ReleaseAddresses, ReserveAddresses, await_networks, release_addresses,
        reserve_addresses,
    },
    vsi::{ResolveNetworks, resolve_networks},
};

use super::VsiGraphBuilder;
use crate::{network, record::network_entity, spec::DesiredVsi};

impl VsiGraphBuilder<'_> {
    /// Adds the node that waits for the runs that make the networks. Returns the node that the next
    /// ones follow: nothing of a VSI is made before its networks.
    pub(crate) fn await_networks(&mut self, after: &'static str) -> Result<&'static str, Failure> {
        let vsi = &self.record.vsi;
        let networks = vsi.made_networks.iter().filter_map(|(name, made)| {
            Some(Awaited {
                entity: network_entity(&vsi.host, name).ok()?.to_string(),
                name: made.name.clone(),
            })
        });
        let networks: Vec<_> = networks.collect();
        if networks.is_empty() {
            return Ok(after);
        }
        if !self.nodes.has::<AwaitNetworks>() {
            let params = await_networks::Params { networks };
            let node = self.nodes.step::<AwaitNetworks>(&[after], &params)?;
            // It contacts no host, and must not block the networks in the host's lane.
            (node.interruptible, node.lane) = (true, Text::default());
        }
        Ok(AwaitNetworks::NAME)
    }

    /// Adds `await_networks` → `resolve_networks` → `reserve_addresses`. Returns the last of them.
    pub(crate) fn networks(&mut self, after: &'static str) -> Result<&'static str, Failure> {
        let after = self.await_networks(after)?;
        let params = resolve_networks::Params {
            host: self.host(),
            networks: self.record.vsi.networks.clone(),
        };
        self.step::<ResolveNetworks>(&[after], &params)?;
        let cards = network::reservations(self.record);
        if cards.is_empty() {
            return Ok(ResolveNetworks::NAME);
        }
        let host = self.host();
        let reservation = reserve_addresses::Params { host, cards };
        self.step::<ReserveAddresses>(&[ResolveNetworks::NAME], &reservation)?;
        Ok(ReserveAddresses::NAME)
    }

    /// Ends the reservations in networks that the VSI has left. Returns the node that the next ones
    /// follow.
    pub(crate) fn give_up_addresses(
        &mut self,
        after: &'static str,
        before: &DesiredVsi,
    ) -> Result<&'static str, Failure> {
        let cards = network::given_up(before, &self.record.vsi);
        if cards.is_empty() {
            return Ok(after);
        }
        let params = release_addresses::Params {
            host: self.host(),
            cards,
            recorded: true,
        };
        self.step::<ReleaseAddresses>(&[after], &params)?;
        Ok(ReleaseAddresses::NAME)
    }
}
