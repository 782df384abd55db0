//! Resources that are checked again at a later time.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::{Instant, sleep_until};

use crate::resource::ResourceKey;

/// Resources with the times at which each is due.
#[derive(Debug, Default)]
pub(crate) struct DueResources(BTreeSet<(Instant, ResourceKey)>);

impl DueResources {
    /// Makes a resource due after a delay.
    pub(super) fn add(&mut self, key: ResourceKey, delay: Duration) {
        if let Some(at) = Instant::now().checked_add(delay) {
            self.0.insert((at, key));
        }
    }

    /// Waits until a resource is due; forever if there is none. Cancel safe.
    pub(super) async fn wait(&self) {
        match self.0.first() {
            Some((at, _)) => sleep_until(*at).await,
            None => std::future::pending().await,
        }
    }

    /// Removes the resources that are due.
    pub(super) fn take(&mut self, now: Instant) -> Vec<ResourceKey> {
        let mut due = Vec::new();
        while let Some((at, key)) = self.0.pop_first() {
            if at > now {
                self.0.insert((at, key));
                break;
            }
            due.push(key);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::ResourceKind;

    fn key(name: &str) -> ResourceKey {
        ResourceKey {
            kind: ResourceKind::Vsi,
            namespace: "default".to_owned(),
            name: name.to_owned(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_resource_is_due_at_its_time_and_once() {
        let mut resources = DueResources::default();
        let begun = Instant::now();
        for (name, seconds) in [("late", 60), ("early", 5), ("also early", 5)] {
            resources.add(key(name), Duration::from_secs(seconds));
        }
        assert_eq!(resources.take(begun), []);
        resources.wait().await;
        assert_eq!(begun.elapsed(), Duration::from_secs(5));
        let early = resources.take(Instant::now());
        assert_eq!(early, [key("also early"), key("early")]);
        resources.wait().await;
        assert_eq!(begun.elapsed(), Duration::from_secs(60));
        assert_eq!(resources.take(Instant::now()), [key("late")]);
        let never = tokio::time::timeout(Duration::from_secs(3_600), resources.wait());
        assert!(never.await.is_err());
    }
}
