//! Converts libvirt's domain states and reasons (`include/libvirt/libvirt-domain.h`).

use vsiflow_steps::ports::{DomainState, IO_ERROR};

use crate::protocol::{domain_state, paused_reason, shutoff_reason};

/// The domain's state.
pub(super) fn state_of(state: i32, reason: i32) -> DomainState {
    match state {
        domain_state::PAUSED => paused(reason),
        domain_state::PMSUSPENDED => DomainState::Paused,
        domain_state::SHUTDOWN => DomainState::ShuttingDown,
        domain_state::SHUTOFF if reason == shutoff_reason::CRASHED => DomainState::Crashed,
        domain_state::SHUTOFF => DomainState::ShutOff,
        domain_state::CRASHED => DomainState::Crashed,
        _ => DomainState::Running,
    }
}

fn paused(reason: i32) -> DomainState {
    match reason {
        paused_reason::STARTING_UP => DomainState::Starting,
        paused_reason::SHUTTING_DOWN => DomainState::ShuttingDown,
        paused_reason::MIGRATION
        | paused_reason::SAVE
        | paused_reason::DUMP
        | paused_reason::SNAPSHOT
        | paused_reason::POSTCOPY => DomainState::Held,
        _ => DomainState::Paused,
    }
}

/// Whether the domain is off on this host because it was migrated to another one.
pub(super) fn was_moved(state: i32, reason: i32) -> bool {
    state == domain_state::SHUTOFF && reason == shutoff_reason::MIGRATED
}

/// The reason for the state, in the words of `virsh domstate --reason`; `None` if the state suffices.
pub(super) fn reason_of(state: i32, reason: i32) -> Option<&'static str> {
    match (state, reason) {
        (domain_state::PAUSED, paused_reason::MIGRATION) => Some("migrating"),
        (domain_state::PAUSED, paused_reason::SAVE) => Some("saving"),
        (domain_state::PAUSED, paused_reason::DUMP) => Some("dumping"),
        (domain_state::PAUSED, paused_reason::IOERROR) => Some(IO_ERROR),
        (domain_state::PAUSED, paused_reason::WATCHDOG) => Some("watchdog"),
        (domain_state::PAUSED, paused_reason::FROM_SNAPSHOT) => Some("from snapshot"),
        (domain_state::PAUSED, paused_reason::SNAPSHOT) => Some("creating snapshot"),
        (domain_state::PAUSED, paused_reason::CRASHED) => Some("crashed"),
        (domain_state::PAUSED, paused_reason::POSTCOPY) => Some("post-copy"),
        (domain_state::PAUSED, paused_reason::POSTCOPY_FAILED) => Some("post-copy failed"),
        (domain_state::PAUSED, paused_reason::API_ERROR) => Some("api error"),
        (domain_state::SHUTOFF, shutoff_reason::DESTROYED) => Some("destroyed"),
        (domain_state::SHUTOFF, shutoff_reason::MIGRATED) => Some("migrated"),
        (domain_state::SHUTOFF, shutoff_reason::SAVED) => Some("saved"),
        (domain_state::SHUTOFF, shutoff_reason::FAILED) => Some("failed"),
        (domain_state::SHUTOFF, shutoff_reason::FROM_SNAPSHOT) => Some("from snapshot"),
        (domain_state::SHUTOFF, shutoff_reason::DAEMON) => Some("daemon"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_is_suspended_counts_as_paused() {
        let paused = |reason| state_of(domain_state::PAUSED, reason);
        let suspended_by_a_user = 1;
        assert_eq!(paused(suspended_by_a_user), DomainState::Paused);
        assert_eq!(paused(paused_reason::IOERROR), DomainState::Paused);
        assert_eq!(paused(paused_reason::STARTING_UP), DomainState::Starting);
        assert_eq!(
            paused(paused_reason::SHUTTING_DOWN),
            DomainState::ShuttingDown
        );
        assert_eq!(paused(paused_reason::SNAPSHOT), DomainState::Held);
    }

    #[test]
    fn a_reason_is_told_where_the_state_alone_says_too_little() {
        let reason = |state, reason| reason_of(state, reason);
        let paused = domain_state::PAUSED;
        assert_eq!(reason(paused, paused_reason::IOERROR), Some("I/O error"));
        let off = domain_state::SHUTOFF;
        assert_eq!(reason(off, shutoff_reason::DESTROYED), Some("destroyed"));
        assert_eq!(reason(off, shutoff_reason::SHUTDOWN), None);
        assert_eq!(reason(domain_state::RUNNING, 1), None);
    }
}
