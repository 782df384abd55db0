//! The fleet at a moment of its past, for `--at`.

use std::sync::LazyLock;

use vsiflow_api::{Moments, Places};
use vsiflow_workflows::fleet::{Fleet, Moment};

use super::App;
use crate::{actor, exit::ExitProblem, output};

/// The turns of callers whose moments no [`Moments`] remembers.
static TURNS: LazyLock<Places> = LazyLock::new(|| Places::new(Moments::LIMITS));

impl App {
    /// The fleet at a moment, which is printed; the current fleet without one.
    pub(crate) async fn fleet_at(&self, moment: Option<Moment>) -> Result<Fleet, ExitProblem> {
        let Some(moment) = moment else {
            return Ok(self.fleet.clone());
        };
        let own = self.inner.shard.as_ref().map(|shard| shard.number);
        let moment = match moment {
            Moment::Event { journal, offset } if Some(journal) == own => Moment::Offset(offset),
            moment => moment,
        };
        let turn = actor::turn_in(&TURNS).await?;
        let fleet = if self.borrowed {
            let past = self
                .moments()
                .at(&self.fleet.clone().into(), moment)
                .await?;
            past.decides().clone()
        } else {
            self.fleet.at(moment).await?
        };
        drop(turn);
        if let Some((offset, time)) = fleet.history().newest_event().await? {
            output::note(&format!("as of offset {offset}, {time}"));
        }
        Ok(fleet)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use vsiflow_api::{Caller, Rights};
    use vsiflow_engine::model::{Actor, Who};

    use super::*;

    #[tokio::test]
    async fn one_moment_of_a_viewer_is_computed_at_a_time_and_others_do_not_wait_for_it() {
        let caller = |name: &str, rights| Caller {
            actor: Actor::Token(Who::new(name)),
            rights,
        };
        let (viewer, other_viewer) = (caller("a", Rights::Look), caller("b", Rights::Look));
        let turn = actor::turn_of(&TURNS, Some(&viewer))
            .now_or_never()
            .unwrap()
            .unwrap();
        for waiting in [&viewer, &other_viewer] {
            assert!(
                actor::turn_of(&TURNS, Some(waiting))
                    .now_or_never()
                    .is_none()
            );
        }
        let operator = caller("c", Rights::Operate);
        let held = actor::turn_of(&TURNS, Some(&operator)).now_or_never();
        assert!(held.is_some());
        assert!(
            actor::turn_of(&TURNS, Some(&operator))
                .now_or_never()
                .is_none()
        );
        assert!(actor::turn_of(&TURNS, None).now_or_never().is_some());
        drop(turn);
        assert!(
            actor::turn_of(&TURNS, Some(&other_viewer))
                .now_or_never()
                .is_some()
        );
    }
}
