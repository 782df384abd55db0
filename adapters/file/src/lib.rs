//! Desired state from YAML files
