//! What people do and what goes wrong, from the command line on. Those whose names begin with
//! `lab_` need the real host of `deploy/lab` around them, those with `kube_` its API server; the
//! others run anywhere.

mod adopting;
mod backups;
mod bad_documents;
mod changes;
mod command_line;
mod consoles;
mod contract_desk;
mod contracts;
mod daemon;
mod deleting;
mod deployed;
mod disks;
mod drift;
mod failed_boots;
mod going_on;
mod growth;
mod hello;
mod hosts;
mod image_commands;
mod image_identity;
mod images;
mod invariants;
mod kube;
mod kube_deploy;
mod kube_faults;
mod kube_leader;
mod kube_migrate;
mod lab_adopting;
mod lab_changes;
mod lab_disks;
mod lab_engine;
mod lab_faults;
mod lab_images;
mod lab_images_http;
mod lab_kill;
mod lab_ports;
mod lab_vsi;
mod metrics;
mod networks;
mod old_copies;
mod older_state;
mod power;
mod references;
mod state_directory;
