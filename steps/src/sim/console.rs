//! The console logs of a simulated host.

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    Content, SimHost, SimHostState,
    host::{Call, object},
};
use crate::ports::{
    ConsoleChunk, ConsolePort, ConsolePosition, PortErrorKind, PortResult, VolumeKey,
};

#[async_trait]
impl ConsolePort for SimHost {
    async fn read(
        &self,
        log: &VolumeKey,
        position: ConsolePosition,
        max: u64,
    ) -> PortResult<ConsoleChunk> {
        let work = |state: &mut SimHostState, _| {
            let (content, offset) = place(state, log, position.offset)
                .ok_or_else(|| self.error(PortErrorKind::Missing, &object(log), "no such log"))?;
            Ok((content.clone(), offset))
        };
        let (content, offset) = self
            .call(Call::observe("console_read", object(log)), work)
            .await?;
        let result = self
            .store
            .on(move |store| store.read(&content, offset, max))
            .await;
        let bytes = Bytes::from(result.map_err(|error| self.store_error(&object(log), &error))?);
        let next = ConsolePosition {
            offset: offset.saturating_add(bytes.len() as u64),
        };
        Ok(ConsoleChunk { bytes, next })
    }

    async fn end(&self, log: &VolumeKey) -> PortResult<ConsolePosition> {
        let work = |state: &mut SimHostState, _| {
            let content = content(state, log, "")
                .ok_or_else(|| self.error(PortErrorKind::Missing, &object(log), "no such log"))?;
            Ok(ConsolePosition {
                offset: content.len(),
            })
        };
        self.call(Call::observe("console_end", object(log)), work)
            .await
    }
}

fn content<'a>(state: &'a SimHostState, log: &VolumeKey, suffix: &str) -> Option<&'a Content> {
    let pool = state.pools.get(&log.pool)?;
    pool.volumes
        .get(&format!("{}{suffix}", log.name))
        .map(|volume| &volume.content)
}

/// The file that continues at this offset: if the log is shorter, it was rotated.
fn place<'a>(state: &'a SimHostState, log: &VolumeKey, offset: u64) -> Option<(&'a Content, u64)> {
    let current = content(state, log, "")?;
    if current.len() >= offset {
        return Some((current, offset));
    }
    let old = content(state, log, ".0").filter(|old| old.len() > offset);
    Some(old.map_or((current, 0), |old| (old, offset)))
}
