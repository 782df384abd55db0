//! A guest's screen: VNC on the loopback address of its host, through the connection to the host.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use uuid::Uuid;
use vsiflow_steps::ports::{GuestConsole, PortErrorKind, PortResult, ScreenStream};

use super::{LibvirtHost, domain_state::state_of};
use crate::xml::screen::{self, Screen};

/// The only address to connect to, whatever the host reports.
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// How long a screen may take to accept the connection.
const WITHIN: Duration = Duration::from_secs(10);

impl LibvirtHost {
    /// Connects to the screen of a domain.
    pub(super) async fn screen(&self, uuid: Uuid) -> PortResult<Box<dyn GuestConsole>> {
        let port = self.screen_port(uuid).await?;
        let stream = self.connect_to(LOOPBACK, port, WITHIN).await?;
        // A guest that stopped in the meantime has released its port, and another guest may use it now.
        if self.screen_port(uuid).await? != port {
            let object = format!("domain {uuid}");
            let words = "the guest was restarted at this moment";
            return Err(self
                .speaking(&object)
                .error(PortErrorKind::WrongState, words));
        }
        Ok(Box::new(ScreenStream::new(stream)))
    }

    /// The current port of the screen on the host's loopback address.
    async fn screen_port(&self, uuid: Uuid) -> PortResult<u16> {
        let calls = self.quick().await?;
        let domain = self.existing_domain(&calls, uuid).await?;
        let state_reply = calls.domain_get_state(&domain).await;
        let state = state_reply.map_err(|e| self.of_domain(uuid, &e))?;
        let object = format!("domain {uuid}");
        let context = self.speaking(&object);
        if !state_of(state.state, state.reason).is_active() {
            return Err(context.error(PortErrorKind::WrongState, "the guest is off"));
        }
        let xml_reply = calls.domain_get_xml_desc(&domain, 0).await;
        let xml = xml_reply.map_err(|e| self.of_domain(uuid, &e))?;
        match self.parsed(xml, screen::running).await {
            Ok(Screen::At(port)) => Ok(port),
            Ok(Screen::Absent) => {
                Err(context.error(PortErrorKind::Missing, "the guest has no VNC screen"))
            }
            Err(error) => Err(context.error(PortErrorKind::Rejected, error.to_string())),
        }
    }
}
