//! The probe for an answer of the guest's agent.

use uuid::Uuid;

use super::{ASK_WITHIN, ProbeAnswer};
use crate::ports::{HostPorts, PortResult};

const PING: &str = r#"{"execute":"guest-ping"}"#;

pub(super) async fn ask(ports: &HostPorts, uuid: Uuid) -> PortResult<ProbeAnswer> {
    ports.domains.agent(uuid, PING, ASK_WITHIN).await?;
    Ok(ProbeAnswer::Met("the agent answers".to_owned()))
}
