//! The probe for a TCP port of the guest that accepts a connection from its host.

use std::net::IpAddr;

use super::{ASK_WITHIN, ProbeAnswer, is_of_host, shown};
use crate::ports::{GuestStream, HostPorts, PortResult};

pub(super) async fn ask(
    ports: &HostPorts,
    addresses: &[IpAddr],
    port: u16,
) -> PortResult<ProbeAnswer> {
    Ok(match dial(ports, addresses, port).await? {
        Ok((address, _)) => ProbeAnswer::Met(format!("tcp {port} of {address} accepts")),
        Err(why) => ProbeAnswer::NotYet(why),
    })
}

/// Connects to the first of the guest's addresses that answers; the inner error says why none does.
pub(super) async fn dial(
    ports: &HostPorts,
    addresses: &[IpAddr],
    port: u16,
) -> PortResult<Result<(IpAddr, Box<dyn GuestStream>), String>> {
    let mut why = "the guest has no address".to_owned();
    for address in addresses {
        match ports.networks.dial(*address, port, ASK_WITHIN).await {
            Ok(stream) => return Ok(Ok((*address, stream))),
            Err(error) if is_of_host(&error) => return Err(error),
            Err(error) => why = format!("{address}: {}", shown(&error)),
        }
    }
    Ok(Err(why))
}
