//! Runs of workflows.

use super::{Cell, Column, Kind, KindWords, NameScope, ObjectIdentity, ResourceWords};
use crate::fleet::{FleetError, Fleets, HistoryLine, RunObject};

/// Runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct RunKind;

impl Kind for RunKind {
    type Object = RunObject;
    const WORDS: KindWords = KindWords {
        singular: "run",
        noun: "run",
        plural: "runs",
        synonyms: &["runs"],
    };
    const NAMES: NameScope = NameScope::Journal;
    const RESOURCE: ResourceWords = ResourceWords {
        path: "runs",
        name: "Run",
    };
    const DELETION: Option<&'static str> = None;
    const COLUMNS: &'static [Column<RunObject>] = &[
        Column::new("NAME", |run| Cell::text(&run.name)),
        Column::new("WORKFLOW", |run| Cell::text(&run.workflow)),
        Column::new("ENTITY", |run| Cell::text(&run.entity)),
        Column::new("PHASE", |run| Cell::text(run.phase)),
        Column::new("STARTED", |run| Cell::Time(run.started.clone())),
    ];

    fn identity(run: &RunObject) -> ObjectIdentity<'_> {
        ObjectIdentity::named(&run.name)
    }

    /// The history of a run is that of its entity.
    async fn history(
        _fleets: &Fleets,
        _namespace: &str,
        _name: &str,
        _run: &RunObject,
    ) -> Result<Vec<HistoryLine>, FleetError> {
        Ok(Vec::new())
    }

    async fn list(fleets: &Fleets, _deleted: bool) -> Result<Vec<RunObject>, FleetError> {
        Ok(fleets.runs())
    }
}
