//! Permits for the calls of a host that may cost a guest its data.
//!
//! A port deletes, defines, starts and undefines only with a permit, and only the guards make one, after they read
//! everything from the host: code that has no ground for such a call does not compile.
//!
//! ```compile_fail
//! use uuid::Uuid;
//! use vsiflow_steps::{guards::Permit, ports::DomainStart};
//!
//! // The field is private to the guards.
//! let permit = Permit(DomainStart { uuid: Uuid::nil() });
//! ```

/// The permission for one call.
#[derive(Clone, Debug)]
pub struct Permit<T>(T);

impl<T> Permit<T> {
    pub(super) const fn new(call: T) -> Self {
        Self(call)
    }

    /// A permit that no guard gave: for checks of a host's behaviour, and for what an administrator does on a
    /// simulated host. Nothing that acts for a journal calls it; a test reads the sources for that.
    pub const fn unguarded(call: T) -> Self {
        Self(call)
    }

    /// What is permitted.
    pub const fn call(&self) -> &T {
        &self.0
    }
}
