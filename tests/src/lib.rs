//! Support for scenarios.
