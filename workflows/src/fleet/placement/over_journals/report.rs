//! Reports the hosts and objects of a journal to the journal that chooses.

use std::collections::{BTreeMap, BTreeSet};

use super::{JournalReport, ReportQuestions};
use crate::{
    fleet::{ErrorKind, Fleet, FleetError, PlacementHandle, placement::survey::HostSurvey},
    record::{host_entity, kind},
    spec::Resolved,
};

impl PlacementHandle<'_> {
    /// Whether a report would have to look at recorded hosts with settings other than the recorded
    /// ones. If so, nothing may be recorded of them during the report.
    pub fn replaces_settings(self, resolved: &Resolved, hosts: &BTreeSet<String>) -> bool {
        let mut settings = hosts.iter().filter_map(|id| resolved.hosts.get(id));
        settings.any(|host| {
            let id = host.id();
            let known = self.fleet.directory.get(&id);
            self.fleet.is_recorded_host(&id) && known.is_some_and(|known| !known.same_as(host))
        })
    }

    /// The report on this journal's hosts and objects. Records new capacities of its hosts.
    ///
    /// # Errors
    /// When part of it cannot be read: unknown is not absent.
    pub async fn report(
        self,
        resolved: &Resolved,
        questions: &ReportQuestions,
    ) -> Result<JournalReport, FleetError> {
        let fleet = self.fleet;
        let _alone = fleet.capacities.surveying().await;
        // Settings of hosts that are not recorded may stay in the directory: it has no others for them.
        let mut offer = fleet.offer(resolved, &questions.hosts);
        offer.keep(|id| !fleet.is_recorded_host(id));
        let answers = async {
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
        let answers = Box::pin(answers).await;
        drop(offer);
        let (hosts, survey) = answers?;
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

    /// The host of an object; `None` if the journal has no object of that name.
    async fn host_of_object(&self, object: &str) -> Result<Option<String>, FleetError> {
        let mut parts = object.splitn(3, '/');
        let (Some(kind), Some(namespace), Some(name)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(FleetError::defect(format!(
                "{object} is not the name of an object"
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
