//! Resource usage of guests on their hosts.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::{StreamExt as _, stream};
use tokio::time::timeout;
use vsiflow_steps::ports::GuestStats;

use crate::fleet::{Fleet, FleetError, HostHandle};

/// How many hosts are asked at the same time.
const CONCURRENT_HOSTS: usize = 16;
/// How long a host may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The resource usage of a VSI on its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestUsage {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The host's id.
    pub host: String,
    /// The statistics that its host reports.
    pub stats: GuestStats,
}

impl HostHandle<'_> {
    /// The resource usage of all running VSIs, with one call to each host that has any. A host that did not
    /// answer the newest scan is not asked, and one that does not answer in time reports nothing. Only VSIs
    /// of this journal are reported, each by the host that it is recorded on; anything else a host reports
    /// is ignored.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn guest_usage(self) -> Result<Vec<GuestUsage>, FleetError> {
        let away = self.list().await?.into_iter();
        let away = away.filter(|host| host.message.is_some());
        let away: BTreeSet<_> = away.map(|host| host.name).collect();
        let mut by_host = BTreeMap::<String, BTreeMap<String, (String, String)>>::new();
        for vsi in self.fleet.vsis().summaries(false).await? {
            let meta = &vsi.metadata;
            let names = (meta.namespace.clone(), meta.name.clone());
            let host = by_host.entry(vsi.host.clone()).or_default();
            host.insert(meta.uid.clone(), names);
        }
        by_host.retain(|host, _| !away.contains(host));
        let queries = by_host.into_iter().map(|(host, vsis)| async move {
            let stats = self.fleet.ask_usage(&host).await;
            reported_guests(&host, vsis, stats)
        });
        let queries: Vec<_> = queries.collect();
        let answers = stream::iter(queries).buffer_unordered(CONCURRENT_HOSTS);
        let mut all: Vec<_> = answers.flat_map(stream::iter).collect().await;
        all.sort_by(|one, other| (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name)));
        Ok(all)
    }
}

impl Fleet {
    async fn ask_usage(&self, host: &str) -> Vec<GuestStats> {
        let queries = async { self.hosts.host(host).await?.host.guest_stats().await };
        match timeout(ANSWER_TIMEOUT, queries).await {
            Ok(Ok(stats)) => stats.unwrap_or_default(),
            Ok(Err(error)) => {
                tracing::debug!(host, %error, "what its guests use is not known");
                Vec::new()
            }
            Err(_) => {
                tracing::debug!(host, "it does not say in time what its guests use");
                Vec::new()
            }
        }
    }
}

/// The statistics that a host reported for its own VSIs, each once.
fn reported_guests(
    host: &str,
    mut vsis: BTreeMap<String, (String, String)>,
    stats: Vec<GuestStats>,
) -> Vec<GuestUsage> {
    let own = stats.into_iter().filter_map(|stats| {
        let (namespace, name) = vsis.remove(&stats.uuid.to_string())?;
        Some(GuestUsage {
            namespace,
            name,
            host: host.to_owned(),
            stats,
        })
    });
    own.collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_host_tells_only_of_its_own_vsis_and_of_each_once() {
        let stats = |id: u128, cpu: u64| GuestStats {
            uuid: Uuid::from_u128(id),
            cpu_ns: Some(cpu),
            ..GuestStats::default()
        };
        let own = (
            Uuid::from_u128(1).to_string(),
            ("team".to_owned(), "web".to_owned()),
        );
        let stats = vec![stats(2, 9), stats(1, 5), stats(1, 6)];
        let all = reported_guests("lpar1", BTreeMap::from([own]), stats);
        assert_eq!(all.len(), 1);
        assert_eq!(
            (all[0].name.as_str(), all[0].stats.cpu_ns),
            ("web", Some(5))
        );
    }
}
