//! Reports what `serve` does on its own: scheduled snapshots, and the removal of unused images.

use vsiflow_workflows::fleet::{FleetError, ImageObject, ScheduleNote, Verdict};

use crate::output;

/// Reports what the schedules of snapshots did, and what failed.
pub(crate) fn report_snapshots(notes: Result<Vec<ScheduleNote>, FleetError>) {
    let notes = match notes {
        Ok(notes) => notes,
        Err(error) => {
            return output::warning(&format!("snapshots that are due are not taken: {error}"));
        }
    };
    for note in notes {
        match note {
            ScheduleNote::Begun {
                vsi,
                snapshot,
                missed,
            } => {
                let missed = match missed {
                    0 => String::new(),
                    missed => format!(", after {missed} that were missed"),
                };
                output::line(&format!("vsi/{vsi}: snapshot/{snapshot} is due{missed}"));
            }
            ScheduleNote::Missing { vsi, failure } => {
                output::note(&format!("vsi/{vsi}: its snapshot is not taken: {failure}"));
            }
            ScheduleNote::SetBack { vsi, at } => {
                output::note(&format!(
                    "vsi/{vsi}: its schedule of snapshots begins again, because the clock was set back from {at} or later"
                ));
            }
            ScheduleNote::Pruned { snapshot } => {
                output::line(&format!(
                    "snapshot/{snapshot} is deleted: newer ones are retained"
                ));
            }
            ScheduleNote::Stays { snapshot, failure } => {
                output::note(&format!("snapshot/{snapshot} stays for now: {failure}"));
            }
        }
    }
}

/// Reports which unused images were removed, and which could not be.
pub(crate) fn report_images(removed: Result<Vec<(ImageObject, Verdict)>, FleetError>) {
    let removed = match removed {
        Ok(removed) => removed,
        Err(error) => return output::warning(&format!("unused images are not removed: {error}")),
    };
    for (image, verdict) in removed {
        let place = format!(
            "image/{} on {} in pool {}",
            image.name, image.host, image.pool
        );
        match verdict {
            Verdict::Reached => output::line(&format!("{place} removed by the image policy")),
            Verdict::Cancelled => {
                output::note(&format!("{place} stays: it was not removed in time"))
            }
            Verdict::Failed(why) | Verdict::Blocked(why) => {
                output::note(&format!("{place} stays: {why}"));
            }
        }
    }
}
