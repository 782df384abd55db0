//! Surveys of hosts for the controller of pools and groups, outside of its turn (see
//! [`inquiries`](crate::fleet::inquiries)).

use vsiflow_engine::model::EntityId;

use super::{HostSurvey, HostsInQuestion};
use crate::fleet::{Fleet, FleetError};

impl Fleet {
    /// The capacities of these hosts, and their room for networks, for a pool or group; `None` while they are
    /// asked.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub(in crate::fleet) async fn survey_in_task(
        &self,
        owner: &EntityId,
        namespace: &str,
        question: &HostsInQuestion,
    ) -> Result<Option<HostSurvey>, FleetError> {
        let asked = self.pools.hosts_surveyed.take(owner, &question.to_string());
        let asked = asked.transpose()?;
        let mut survey = self.recent_survey(&question.hosts, &question.archs).await?;
        let is_known = question.networks.is_empty() && survey.has_all(&question.hosts);
        // A host that did not answer in time counts as unreachable.
        if is_known || asked.is_some() {
            survey.is_stale &= asked.is_none();
            survey.networks = asked.and_then(Result::ok).unwrap_or_default();
            return Ok(Some(survey));
        }
        self.survey_later(owner, namespace, question, false);
        Ok(None)
    }

    /// Has a task ask these hosts; with `now`, also those that have answered recently.
    pub(in crate::fleet) fn survey_later(
        &self,
        owner: &EntityId,
        namespace: &str,
        question: &HostsInQuestion,
        now: bool,
    ) {
        let (fleet, hosts) = (self.for_a_task(), question.clone());
        let ask = async move {
            let survey = Box::pin(fleet.survey_question(hosts, now)).await;
            survey.map(|survey| Ok(survey.networks))
        };
        let surveyed = &self.pools.hosts_surveyed;
        self.ask(surveyed, owner, namespace, question.to_string(), ask);
    }
}
