//! Ports over libvirt's native protocol, by SSH or a local socket
