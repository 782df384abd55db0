//! Steps that act on virtual server instances, their ports, and the simulated host
