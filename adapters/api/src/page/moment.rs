//! The moment that a page shows.

use vsiflow_engine::model::Timestamp;
use vsiflow_workflows::fleet::{Fleets, Moment};

use crate::{Problem, api::Api};

/// The moment of a page: now, or one of the past.
#[derive(Clone, Debug, Default)]
pub(super) struct At {
    /// The moment in the address; none for now.
    pub(super) requested: Option<Moment>,
    /// The current number of events: it grows with each event.
    pub(super) end: u64,
    /// The range of the slider.
    pub(super) slider: Slider,
    /// When the newest shown event was recorded.
    pub(super) time: String,
    /// The other parameters of the address, which the slider preserves.
    pub(super) others: Vec<(String, String)>,
}

/// The range and the position of the slider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slider {
    /// The offsets of a journal: the newest one, and the newest shown one.
    Offsets { newest: u64, shown: u64 },
    /// The seconds since 1970 in which the journals of a set have events.
    Seconds { first: u64, newest: u64, shown: u64 },
}

impl Default for Slider {
    fn default() -> Self {
        Self::Offsets {
            newest: 0,
            shown: 0,
        }
    }
}

impl At {
    /// The moment of `fleets`, which were requested for `requested`.
    pub(super) async fn of(
        api: &Api,
        fleets: &Fleets,
        requested: Option<Moment>,
    ) -> Result<Self, Problem> {
        let (offset, time) = fleets.newest_event().await?.unwrap_or_default();
        let end = api.end().await?;
        let slider = if fleets.are_several() {
            seconds(api, requested, &time).await?
        } else {
            Slider::Offsets {
                newest: end.saturating_sub(1),
                shown: offset,
            }
        };
        Ok(Self {
            requested,
            end,
            slider,
            time,
            others: Vec::new(),
        })
    }

    /// The moment as a suffix for an address that already has a query.
    pub(super) fn more(&self) -> String {
        self.requested
            .map(|at| format!("&at={at}"))
            .unwrap_or_default()
    }
}

async fn seconds(api: &Api, requested: Option<Moment>, shown: &str) -> Result<Slider, Problem> {
    let (now, shown) = (api.fleets().await?, second_of(shown));
    let newest = match requested {
        None => shown,
        Some(_) => now
            .newest_event()
            .await?
            .map_or(0, |(_, time)| second_of(&time)),
    };
    let first = now.first_event().await?;
    Ok(Slider::Seconds {
        first: first.map_or(0, |Timestamp(millis)| millis.div_euclid(1000)),
        newest,
        shown,
    })
}

fn second_of(time: &str) -> u64 {
    match time.parse() {
        Ok(Moment::Time(Timestamp(millis))) => millis.div_euclid(1000),
        _ => 0,
    }
}

/// The end of a second, but not later than `now`.
pub(super) fn end_of_second(second: u64, now: Timestamp) -> Moment {
    let millis = second.saturating_mul(1000).saturating_add(999);
    Moment::Time(Timestamp(millis.min(now.0)))
}

/// The moment of an event; in a set it includes the journal.
pub(super) fn of_event(journal: Option<u16>, offset: u64) -> Moment {
    match journal {
        Some(journal) => Moment::Event { journal, offset },
        None => Moment::Offset(offset),
    }
}
