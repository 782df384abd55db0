//! The durable engine: events, journal, replay, decide, execute
