//! Identifies the machine behind a host. The SSH key is not enough: addresses move, and machines are copied.

use std::sync::{Mutex, PoisonError};

use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::connect_error::ConnectError;
use crate::ssh::{ExecError, ExecOutput};

/// Prints the machine ID, or else the hardware's UUID, which only root may read.
pub(super) const WHICH: &str = "\
    if i=$(cat /etc/machine-id 2>/dev/null) && [ -n \"$i\" ] && [ \"$i\" != uninitialized ]; \
    then echo \"machine-id $i\"; \
    elif i=$(cat /sys/class/dmi/id/product_uuid 2>/dev/null) && [ -n \"$i\" ]; \
    then echo \"product-uuid $i\"; fi";
/// The size limit of the output in bytes.
pub(super) const LIMIT: usize = 256;

/// The only permitted machine, if one is pinned.
#[derive(Debug, Default)]
pub(super) struct Pin {
    machine: Mutex<Option<String>>,
    /// The UUID that libvirt must report.
    uuid: Mutex<Option<Uuid>>,
    /// The machine that this process runs on.
    pub(super) here: OnceCell<Option<String>>,
}

impl Pin {
    pub(super) fn set(&self, machine: Option<&str>) {
        let mut pinned = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
        *pinned = machine.map(str::to_owned);
    }

    pub(super) fn set_uuid(&self, uuid: Option<Uuid>) {
        let mut pinned = self.uuid.lock().unwrap_or_else(PoisonError::into_inner);
        *pinned = uuid;
    }

    /// The UUID that libvirt must report, if one is pinned.
    pub(super) fn uuid(&self) -> Option<Uuid> {
        *self.uuid.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks the UUID that libvirt reports.
    ///
    /// # Errors
    /// [`ConnectError::OtherMachine`].
    pub(super) fn admits_uuid(&self, host: &str, found: Option<Uuid>) -> Result<(), ConnectError> {
        let text = |uuid: Uuid| format!("libvirt's host UUID {uuid}");
        match self.uuid() {
            Some(pinned) if Some(pinned) != found => Err(ConnectError::OtherMachine {
                host: host.to_owned(),
                pinned: text(pinned),
                found: found.map_or_else(|| "one that does not say which".to_owned(), text),
            }),
            _ => Ok(()),
        }
    }

    /// Checks that this is the pinned machine. A machine that no longer reports an ID is refused, because it
    /// may be another one.
    ///
    /// # Errors
    /// [`ConnectError::OtherMachine`].
    pub(super) fn admits(&self, host: &str, found: Option<&str>) -> Result<(), ConnectError> {
        let pinned = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
        match pinned.as_deref() {
            Some(pinned) if Some(pinned) != found => Err(ConnectError::OtherMachine {
                host: host.to_owned(),
                pinned: pinned.to_owned(),
                found: found.unwrap_or("one that does not say which").to_owned(),
            }),
            _ => Ok(()),
        }
    }
}

/// Reads the machine's ID from the command's output; `None` if the host does not permit the command.
///
/// # Errors
/// If there was no output: then the machine is unknown.
pub(super) fn ask(answer: Result<ExecOutput, ExecError>) -> Result<Option<String>, ConnectError> {
    let output = match answer {
        Ok(output) => output,
        Err(ExecError::Refused(_)) => return Ok(None),
        Err(ExecError::Connect(error)) => return Err(error),
        Err(error) => {
            return Err(ConnectError::Ssh {
                host: String::new(),
                message: format!("which machine it is was not answered: {error}"),
            });
        }
    };
    let output = String::from_utf8_lossy(&output.stdout);
    let is_known = |line: &&str| {
        ["machine-id ", "product-uuid "]
            .iter()
            .any(|k| line.starts_with(k))
    };
    Ok(Some(output.trim()).filter(is_known).map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_machine_and_one_that_does_not_say_are_refused_once_one_is_pinned() {
        let pin = Pin::default();
        assert!(pin.admits("h", None).is_ok() && pin.admits("h", Some("a")).is_ok());
        pin.set(Some("a"));
        assert!(pin.admits("h", Some("a")).is_ok());
        for other in [None, Some("b")] {
            let refused = pin.admits("h", other);
            assert!(matches!(refused, Err(ConnectError::OtherMachine { .. })));
        }
        pin.set(None);
        assert!(pin.admits("h", Some("b")).is_ok());
    }

    #[test]
    fn what_libvirt_calls_the_machine_counts_where_it_is_pinned() {
        let (pin, one, other) = (Pin::default(), Uuid::from_u128(1), Uuid::from_u128(2));
        assert!(pin.admits_uuid("h", Some(one)).is_ok() && pin.admits_uuid("h", None).is_ok());
        pin.set_uuid(Some(one));
        assert!(pin.admits_uuid("h", Some(one)).is_ok());
        for found in [None, Some(other)] {
            let refused = pin.admits_uuid("h", found);
            assert!(matches!(refused, Err(ConnectError::OtherMachine { .. })));
        }
    }

    #[test]
    fn only_an_answer_of_the_known_form_counts() {
        let parsed = |text: &str| {
            let stdout = text.as_bytes().to_vec();
            ask(Ok(ExecOutput {
                stdout,
                ..ExecOutput::default()
            }))
            .unwrap()
        };
        assert_eq!(parsed("machine-id 12\n").as_deref(), Some("machine-id 12"));
        assert_eq!(parsed("Welcome!\n"), None);
        assert!(ask(Err(ExecError::Interrupted)).is_err());
        assert_eq!(ask(Err(ExecError::Refused(String::new()))), Ok(None));
    }
}
