//! Saves the memory of guests to files, together with new layers over their disks, and restores it.

use std::time::Duration;

use uuid::Uuid;
use vsiflow_steps::ports::{DomainState, LayerSpec, PortErrorKind, PortResult, SavedMachine};

use super::{LibvirtHost, START, domain_state::state_of};
use crate::{
    protocol::{block_flags, domain_flags},
    xml::{domain_info, saved, snapshot},
};

/// The slowest supported disk for saved memory, in MiB per second.
const MIN_RATE: u64 = 16;

/// What libvirt is told to save or to restore.
struct MemoryOrder {
    /// The size of the guest's memory.
    mib: u64,
    xml: String,
}

/// The timeout of a call that writes or reads this much memory.
fn timeout_for(mib: u64) -> Duration {
    START.saturating_add(Duration::from_secs(mib / MIN_RATE))
}

impl LibvirtHost {
    pub(super) async fn create_layers_and_save(
        &self,
        uuid: Uuid,
        layers: &[LayerSpec],
        memory: &str,
    ) -> PortResult<()> {
        let calls = self.quick().await?;
        let domain = self.existing_domain(&calls, uuid).await?;
        let object = format!("domain {uuid}");
        let context = self.speaking(&object);
        let state_reply = calls.domain_get_state(&domain).await;
        let state = state_reply.map_err(|e| self.of_domain(uuid, &e))?;
        if state_of(state.state, state.reason) != DomainState::Running {
            return Err(context.error(PortErrorKind::WrongState, "it does not run"));
        }
        let xml_reply = calls.domain_get_xml_desc(&domain, 0).await;
        let xml = xml_reply.map_err(|e| self.of_domain(uuid, &e))?;
        let (layers, file) = (layers.to_vec(), memory.to_owned());
        let parsing = self.parsed(xml, move |xml| {
            Ok(MemoryOrder {
                mib: domain_info::read(xml)?.shape.memory_mib,
                xml: snapshot::describe(xml, &layers, Some(&file))?,
            })
        });
        let order = parsing.await.map_err(|e| context.unreadable(&e))?;
        let flags = block_flags::SNAPSHOT_NO_METADATA | block_flags::SNAPSHOT_ATOMIC;
        let long = self.long(timeout_for(order.mib)).await?;
        let created = long.domain_snapshot_create_xml(&domain, &order.xml, flags);
        created
            .await
            .map(drop)
            .map_err(|e| self.of_domain(uuid, &e))
    }

    pub(super) async fn machine_in(&self, memory: &str) -> PortResult<SavedMachine> {
        let calls = self.quick().await?;
        let object = format!("file {memory}");
        let context = self.speaking(&object);
        let xml_reply = calls.domain_save_image_get_xml_desc(memory, 0).await;
        let xml = xml_reply.map_err(|e| context.of(&e))?;
        let parsed = self.parsed(xml, domain_info::read).await;
        let definition = parsed.map_err(|e| context.unreadable(&e))?;
        Ok(SavedMachine {
            uuid: definition.uuid,
            shape: definition.shape,
        })
    }

    pub(super) async fn restore(&self, uuid: Uuid, memory: &str) -> PortResult<()> {
        let calls = self.quick().await?;
        let domain = self.existing_domain(&calls, uuid).await?;
        let failure = |error: &crate::Error| self.of_domain(uuid, error);
        let stored_reply = calls
            .domain_get_xml_desc(&domain, domain_flags::XML_INACTIVE)
            .await;
        let stored = stored_reply.map_err(|e| failure(&e))?;
        // Secrets are returned only with this flag. Without them, the given definition would lose them.
        let secure = domain_flags::XML_SECURE;
        let xml_reply = calls.domain_save_image_get_xml_desc(memory, secure).await;
        let xml = xml_reply.map_err(|e| failure(&e))?;
        let object = format!("domain {uuid}");
        let context = self.speaking(&object);
        let length = xml.len().saturating_add(stored.len());
        let parsing = self.parsed_in_turn(length, move || {
            Ok(MemoryOrder {
                mib: domain_info::read(&xml)?.shape.memory_mib,
                xml: saved::redefined(&xml, &stored)?,
            })
        });
        let order = parsing.await.map_err(|e| context.unreadable(&e))?;
        let long = self.long(timeout_for(order.mib)).await?;
        let started = long.domain_restore_flags(memory, &order.xml, domain_flags::SAVE_RUNNING);
        started.await.map_err(|e| failure(&e))
    }
}
