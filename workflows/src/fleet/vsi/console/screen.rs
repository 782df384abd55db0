//! Opens the VNC screen of a VSI.

use bytes::Bytes;
use vsiflow_engine::model::{Failure, FailureClass};
use vsiflow_steps::ports::{PortError, PortErrorKind};

use super::{ConsoleAccess, OpenConsole};
use crate::fleet::{ErrorKind, FleetError};

impl ConsoleAccess {
    /// Connects to the screen. There is no earlier output.
    pub(super) async fn open_screen(&self) -> Result<OpenConsole, FleetError> {
        let domains = &self.log.ports().domains;
        let console = match domains.domain(self.uuid).await {
            Ok(None) => Err(self.no_screen("VSI0741", "the VSI has no domain on its host")),
            Ok(Some(domain)) if !domain.state.is_active() => {
                Err(self.no_screen("VSI0741", "the guest is off"))
            }
            Ok(Some(_)) => {
                let opened = domains.open_screen(self.uuid).await;
                opened.map_err(|error| self.screen_refused(error))
            }
            Err(error) => Err(Failure::from(error).into()),
        };
        Ok(OpenConsole {
            console: console?,
            output: Bytes::new(),
        })
    }

    fn screen_refused(&self, error: PortError) -> FleetError {
        match error.kind {
            PortErrorKind::Missing => self.no_screen("VSI0742", &error.message),
            PortErrorKind::Rejected => self.no_screen("VSI0743", &error.message),
            PortErrorKind::WrongState => self.no_screen("VSI0744", &error.message),
            _ => Failure::from(error).into(),
        }
    }

    fn no_screen(&self, code: &'static str, message: &str) -> FleetError {
        let remedy = match code {
            "VSI0741" => "start it with `vsiflow start`",
            // The change of the document takes effect at the next start.
            "VSI0742" if self.has_screen => "restart it with `vsiflow restart`",
            "VSI0742" => "write `graphics: vnc` below `machine`, apply it, and restart the VSI",
            "VSI0743" => {
                "check the domain on its host; `onDrift: Restore` defines it as it was written"
            }
            _ => "see `vsiflow get` for its state, then call `vsiflow vnc` again",
        };
        let failure = Failure::new(FailureClass::Blocked, code, message)
            .on_host(self.log.ports().host.name())
            .of_object(&self.label)
            .with_remedy(remedy);
        FleetError::new(ErrorKind::Blocked, failure)
    }
}
