//! Reads the Events of a VSI.

use k8s_openapi::{api::core::v1::Event, jiff::Timestamp};
use kube::{Api, api::ListParams};

use super::{Cluster, PluginError, VsiResource};
use crate::api::within;

/// Maximum number of Events in one answer.
const EVENTS: u32 = 100;

/// An Event of an object.
#[derive(Clone, Debug)]
pub struct ClusterEvent {
    /// When it last occurred.
    pub at: Option<Timestamp>,
    /// `Normal` or `Warning`.
    pub kind: String,
    /// A word for machines.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
    /// How often it occurred.
    pub count: i32,
}

impl Cluster {
    /// Lists the Events of a VSI, the oldest first.
    ///
    /// # Errors
    /// If this user may not list Events.
    pub async fn events(&self, vsi: &VsiResource) -> Result<Vec<ClusterEvent>, PluginError> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let of_it = format!("involvedObject.uid={}", vsi.uid);
        let params = ListParams::default().fields(&of_it).limit(EVENTS);
        let listed = within(api.list(&params)).await;
        let listed =
            listed.map_err(|error| self.wrong(&vsi.name, "has Events that are hidden", error))?;
        let mut events: Vec<_> = listed.items.into_iter().map(ClusterEvent::of).collect();
        events.sort_by_key(|one| one.at);
        Ok(events)
    }
}

impl ClusterEvent {
    fn of(event: Event) -> Self {
        let last = event.last_timestamp.map(|time| time.0);
        let series = event.series.as_ref();
        Self {
            at: last.or(event.event_time.map(|time| time.0)),
            kind: event.type_.unwrap_or_default(),
            reason: event.reason.unwrap_or_default(),
            message: event.message.unwrap_or_default(),
            count: series
                .and_then(|series| series.count)
                .or(event.count)
                .unwrap_or(1),
        }
    }
}
