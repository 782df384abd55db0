//! What a journal says of its hosts and objects, for another one to choose by.

use std::collections::{BTreeMap, BTreeSet};

use super::{JournalReport, ReportQuestions};
use crate::{
    fleet::{ErrorKind, Fleet, FleetError, PlacementHandle, placement::survey::HostSurvey},
    record::{host_entity, kind},
    spec::Resolved,
};

impl PlacementHandle<'_> {
    /// Whether a report would have to look at recorded hosts by other settings than those that are recorded: nothing
    /// may be recorded of them meanwhile.
    pub fn replaces_settings(self, resolved: &Resolved, hosts: &BTreeSet<String>) -> bool {
        let mut settings = hosts.iter().filter_map(|id| resolved.hosts.get(id));
        settings.any(|host| {
            let id = host.id();
            let known = self.fleet.directory.get(&id);
            self.fleet.is_recorded_host(&id) && known.is_some_and(|known| !known.same_as(host))
        })
    }

    /// What this journal has to say of its hosts and objects. Of hosts it records what is news.
    ///
    /// # Errors
    /// When something of it cannot be read: unknown is not absent.
    pub async fn report(
        self,
        resolved: &Resolved,
        questions: &ReportQuestions,
    ) -> Result<JournalReport, FleetError> {
        let fleet = self.fleet;
        let _alone = fleet.capacities.looking().await;
        // Settings that are not recorded may stay: nothing else is known of those hosts.
        let mut before = fleet.offer(resolved, &questions.hosts);
        before.retain(|(id, _)| fleet.is_recorded_host(id));
        let offer = async {
            let survey = match &questions.left_alone {
                Some(why) => HostSurvey::of_none(&questions.hosts, why),
                None => {
                    fleet
                        .survey(&questions.hosts, &questions.archs, questions.now)
                        .await?
                }
            };
            let hosts = fleet.placement_hosts(&questions.hosts, &survey).await?;
            Ok::<_, FleetError>((hosts, survey))
        };
        let offer = Box::pin(offer).await;
        for (id, settings) in before {
            fleet.directory.withdraw(&id, settings);
        }
        let (hosts, survey) = offer?;
        let mut report = JournalReport {
            hosts,
            objects: BTreeMap::new(),
            taken: Box::pin(fleet.taken_in(&questions.namespaces)).await?,
            is_stale: survey.is_stale,
        };
        fleet.note_news(survey.news).await?;
        for object in &questions.objects {
            if let Some(host) = Box::pin(fleet.host_of_object(object)).await? {
                report.objects.insert(object.clone(), host);
            }
        }
        Ok(report)
    }
}

impl Fleet {
    fn is_recorded_host(&self, id: &str) -> bool {
        host_entity(id).is_ok_and(|entity| self.engine.entity(&entity).is_some())
    }

    /// Where an object is; none where the journal has none of that name.
    async fn host_of_object(&self, object: &str) -> Result<Option<String>, FleetError> {
        let mut parts = object.splitn(3, '/');
        let (Some(kind), Some(namespace), Some(name)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(FleetError::defect(format!(
                "{object} is no name of an object"
            )));
        };
        let found = match kind {
            kind::DISK => {
                let found = self.find_disk(namespace, name, false).await;
                found.map(|known| known.record.disk.host)
            }
            _ => {
                let found = self.find(namespace, name, false).await;
                found.map(|known| known.record.vsi.host.clone())
            }
        };
        match found {
            Ok(host) => Ok(Some(host)),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}
