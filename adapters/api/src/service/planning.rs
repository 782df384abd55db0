//! The request for what documents would change. Nothing is recorded.

use std::collections::BTreeSet;

use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use vsiflow_engine::model::Failure;
use vsiflow_workflows::{
    fleet::{Applied, Change, Fleet},
    kinds::ObjectKind,
    record::kind,
    spec::Resolved,
};

use super::{
    JournalUse, Operation, ServiceRequest,
    acted::ActedObject,
    documented::{DocumentNotes, DocumentedChange, Foreseen, ForeseenWork, PrunedObject},
    documents::{
        DocumentRequest, DocumentUse, ReadDocuments, SentDocuments, answers_of_set, left_out,
        refuse_present,
    },
};
use crate::{Caller, Problem, Rights, api::Api, routes::RequestLimits};

/// Asks what would be done about the objects of documents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct PlanRequest {
    /// The documents.
    pub documents: SentDocuments,
    /// Answer as an apply would, which refuses some changes, and look at what hosts would refuse.
    pub dry_run: bool,
    /// In a dry run: what would be deleted because it has no document in the directory any more, if that is not more than so
    /// many objects.
    pub prune: Option<usize>,
    /// Refuse VSIs that exist.
    pub only_new: bool,
}

/// What documents would change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PlannedDocuments {
    /// The objects of the documents.
    pub objects: Vec<ActedObject>,
    /// What is said of the documents beside that.
    pub notes: DocumentNotes,
    /// Journals of a set that did not answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
}

impl ServiceRequest for PlanRequest {
    type Answer = PlannedDocuments;
    const OPERATION: Operation = Operation {
        id: "planDocuments",
        path: "/v1/plan-documents",
        summary: "Show what documents would change",
    };
    const NEEDS: Rights = Rights::Everything;
    const USE: JournalUse = JournalUse::Ask;
    const LIMITS: RequestLimits = RequestLimits::OF_DOCUMENTS;

    fn asks_hosts(&self) -> bool {
        true
    }

    async fn answer(self, api: &Api, caller: &Caller) -> Result<PlannedDocuments, Problem> {
        if let Some(set) = api.set() {
            let parts = answers_of_set(set.as_ref(), &self, caller).await?;
            let mut merged = PlannedDocuments {
                notes: parts.notes,
                problems: parts.problems,
                ..PlannedDocuments::default()
            };
            for (journal, answer) in parts.answers {
                merged.notes.add(answer.notes);
                let objects = answer.objects.into_iter();
                merged.objects.extend(objects.map(|object| ActedObject {
                    journal: Some(journal),
                    ..object
                }));
            }
            merged.notes.leave_made(&merged.objects);
            return Ok(merged);
        }
        Box::pin(self.planned(api)).await
    }
}

impl DocumentRequest for PlanRequest {
    fn documents(&self) -> &SentDocuments {
        &self.documents
    }

    fn records(&self) -> Option<&str> {
        None
    }

    fn prunes(&self) -> bool {
        self.prune.is_some()
    }
}

impl PlanRequest {
    async fn planned(self, api: &Api) -> Result<PlannedDocuments, Problem> {
        let (fleet, work) = (api.fleet()?, api.documents());
        let reads_for = if self.dry_run {
            DocumentUse::Apply
        } else {
            DocumentUse::Plan
        };
        let read = work.read(&self.documents, reads_for).await?;
        let ReadDocuments {
            resolved,
            mut notes,
            ..
        } = read;
        if self.only_new {
            refuse_present(fleet, &resolved).await?;
        }
        notes.pruned = left_out(fleet, self.prune, &resolved).await?;
        let planned = if self.dry_run {
            fleet.apply_dry(&resolved).await?
        } else {
            fleet.plan(&resolved).await?
        };
        let mut foreseen = Foresight::of_images(fleet, &resolved, &planned).await;
        if self.dry_run {
            foreseen.ask_hosts(fleet, &planned).await?;
            for object in &mut notes.pruned {
                let refusal = deletion_refusal(fleet, object).await?;
                object.problem = refusal.as_ref().map(refused);
            }
        }
        let mut objects: Vec<_> = planned.into_iter().map(ActedObject::applied).collect();
        for (object, seen) in objects.iter_mut().zip(foreseen.by_object) {
            if let Some(documented) = &mut object.documented {
                documented.foreseen = seen;
            }
        }
        notes.leave_made(&objects);
        Ok(PlannedDocuments {
            objects,
            notes,
            problems: Vec::new(),
        })
    }
}

/// What was looked at before objects are changed, in the order of the objects.
struct Foresight {
    by_object: Vec<Vec<Foreseen>>,
}

impl Foresight {
    /// Images in files that could not be used.
    async fn of_images(fleet: &Fleet, resolved: &Resolved, planned: &[Applied]) -> Self {
        let mut by_object = vec![Vec::new(); planned.len()];
        for unfit in fleet.unfit_images(resolved, planned).await {
            let is_its = |object: &&Applied| {
                object.kind == unfit.kind
                    && object.namespace == unfit.namespace
                    && object.name == unfit.name
            };
            let work = if unfit.is_new {
                ForeseenWork::Made
            } else {
                ForeseenWork::Changed
            };
            let mut objects = planned.iter().zip(&mut by_object);
            if let Some((_, foreseen)) = objects.find(|(object, _)| is_its(object)) {
                foreseen.push(Foreseen {
                    work,
                    problem: Some(refused(&unfit.failure)),
                });
            }
        }
        Self { by_object }
    }

    /// What hosts would refuse to delete or to make anew.
    async fn ask_hosts(&mut self, fleet: &Fleet, planned: &[Applied]) -> Result<(), Problem> {
        for (object, foreseen) in planned.iter().zip(&mut self.by_object) {
            let destroyed = object.plan.destroys.iter();
            let doomed_objects: BTreeSet<_> =
                destroyed.filter_map(|lost| lost.doomed.as_ref()).collect();
            for doomed in doomed_objects {
                let refusal = fleet.doomed_refusal(doomed).await?;
                let work = match object.kind {
                    kind::VSI => ForeseenWork::Rebuilt,
                    _ => ForeseenWork::Configured,
                };
                foreseen.push(Foreseen {
                    work,
                    problem: refusal.as_ref().map(refused),
                });
            }
        }
        Ok(())
    }
}

fn refused(failure: &Failure) -> Problem {
    Problem::of(StatusCode::CONFLICT, failure)
}

/// What a host would refuse of a deletion.
async fn deletion_refusal(
    fleet: &Fleet,
    object: &PrunedObject,
) -> Result<Option<Failure>, Problem> {
    let (namespace, name) = (&object.namespace, &object.name);
    let refusal = match object.kind {
        _ if object.keeps_volume => None,
        ObjectKind::Vsi => fleet.vsis().deletion_refusal(namespace, name).await?,
        ObjectKind::Disk => fleet.disks().deletion_refusal(namespace, name).await?,
        ObjectKind::Pool => fleet.pools().deletion_refusal(namespace, name).await?,
        ObjectKind::Group => fleet.groups().deletion_refusal(namespace, name).await?,
        _ => None,
    };
    Ok(refusal)
}

impl PlannedDocuments {
    /// The plans, as `plan -o json` and `/v1/plan` show them.
    pub fn plans(&self) -> Vec<Value> {
        let items = self.changes().map(|(object, documented)| {
            let plan = object.plan.clone().unwrap_or_default();
            let action = match (documented.change, plan.how()) {
                (Change::Created, _) => json!("create"),
                (_, None) => json!("none"),
                (_, Some(how)) => json!(how),
            };
            json!({
                "kind": object.kind.word(),
                "metadata": {"name": object.name, "namespace": object.namespace},
                "action": action,
                "changes": plan.changes,
                "destroys": plan.destroys,
                "keeps": plan.keeps,
                "needs": documented.needs,
                "awaitsApproval": documented.awaits_approval,
                "missing": documented.missing,
            })
        });
        items.collect()
    }

    /// What an apply would do, as `apply --dry-run -o json` and `/v1/apply?dryRun=true` show it.
    pub fn foretold(&self) -> Value {
        let items = self.changes().map(|(object, documented)| {
            json!({
                "kind": object.kind.word(),
                "metadata": {"name": object.name, "namespace": object.namespace},
                "change": documented.change,
                "fields": documented.fields,
                "awaitsApproval": documented.awaits_approval,
            })
        });
        let pruned = self.notes.pruned.iter().map(|object| {
            json!({
                "kind": object.kind.word(),
                "metadata": {"name": object.name, "namespace": object.namespace},
                "change": "pruned",
                "dataDisks": object.data_disks,
            })
        });
        let items: Vec<_> = items.chain(pruned).collect();
        json!({"kind": "List", "apiVersion": "v1", "items": items})
    }

    /// The objects, with what documents change about them.
    pub fn changes(&self) -> impl Iterator<Item = (&ActedObject, &DocumentedChange)> {
        self.objects
            .iter()
            .filter_map(|object| Some((object, object.documented.as_deref()?)))
    }
}
