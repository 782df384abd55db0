//! Desired state, step graphs and the façade over them
