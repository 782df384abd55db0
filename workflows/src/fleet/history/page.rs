//! Pages of events: those of one object, or of everything, that match a filter.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vsiflow_engine::journal::Offset;

use crate::{
    fleet::{Fleet, FleetError, Fleets, HistoryLine},
    record::vsi_entity,
};

/// How many events are read at a time.
const READ_LEN: usize = 1_000;
/// How many lines a page has at most, apart from those of one offset.
const PAGE_LEN: usize = 10_000;
/// How many events are read for a page at most.
const SCANNED_MAX: usize = 200_000;
/// By which factor more of a journal's end is read if too few events match.
const WIDER: u64 = 8;

/// Which events are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct EventsQuery {
    /// The object, such as `web` or `disk/data` [default: everything].
    pub name: Option<String>,
    /// The object's namespace.
    pub namespace: String,
    /// The journal of a set, by its number [default: that of the object; of everything, the first].
    pub journal: Option<u16>,
    /// From this offset of that journal on.
    pub from: Offset,
    /// The newest ones alone, at most this many; of everything.
    pub newest: Option<u32>,
    /// Since this moment, RFC 3339.
    pub since: Option<EventTime>,
    /// Those of an actor whose name contains this.
    pub actor: Option<String>,
    /// Failures alone.
    pub failed: bool,
    /// The names of the objects, too.
    pub name_objects: bool,
}

/// A page of events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventsPage {
    /// The events, in the order of their journal.
    pub lines: Vec<HistoryLine>,
    /// From where the next page begins.
    pub next: Offset,
    /// Whether there may be more now.
    pub has_more: bool,
    /// How many journals there are.
    pub journals: u16,
}

/// A moment, RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct EventTime(pub Timestamp);

impl TryFrom<String> for EventTime {
    type Error = jiff::Error;

    fn try_from(text: String) -> Result<Self, jiff::Error> {
        text.parse().map(Self)
    }
}

impl From<EventTime> for String {
    fn from(EventTime(time): EventTime) -> Self {
        time.to_string()
    }
}

impl EventsQuery {
    /// Whether a line is shown. One for missing events has neither time nor actor, and always is.
    pub fn matches(&self, line: &HistoryLine) -> bool {
        let Ok(time) = line.time.parse::<Timestamp>() else {
            return true;
        };
        let actor = self.actor.as_ref();
        let since = self.since.as_ref();
        actor.is_none_or(|actor| line.actor.contains(actor.as_str()))
            && (!self.failed || line.error.is_some())
            && since.is_none_or(|EventTime(since)| time >= *since)
    }
}

impl Fleets {
    /// A page of the events that a query asks for.
    ///
    /// # Errors
    /// `VSI0703` if there is no such object or journal; when the journal cannot be read.
    pub async fn events_page(&self, query: &EventsQuery) -> Result<EventsPage, FleetError> {
        let fleet = match (query.journal, &query.name) {
            (Some(journal), _) => self.numbered(journal)?,
            (None, Some(name)) => self.that_has(&query.namespace, name).await?,
            (None, None) => self.decides(),
        };
        let mut page = match (&query.name, query.newest) {
            (Some(name), _) => of_object(fleet, name, query).await?,
            (None, Some(most)) => newest(fleet, query, most).await?,
            (None, None) => from_offset(fleet, query, query.from).await?,
        };
        if query.name_objects {
            name_objects(fleet, &mut page.lines).await?;
        }
        self.number(&mut page.lines, fleet);
        page.journals = u16::try_from(self.all().count()).unwrap_or(u16::MAX);
        Ok(page)
    }
}

async fn of_object(
    fleet: &Fleet,
    name: &str,
    query: &EventsQuery,
) -> Result<EventsPage, FleetError> {
    let history = fleet.history();
    // Read before the lines: what is recorded meanwhile is read with the next page.
    let end = history.end().max(query.from);
    let mut lines = history
        .lines_since(&query.namespace, name, query.from)
        .await?;
    lines.retain(|line| query.matches(line));
    Ok(cut(lines, end))
}

/// The first lines, without dividing those of an offset. `end` is from where the next page begins if all of them fit.
fn cut(mut lines: Vec<HistoryLine>, end: Offset) -> EventsPage {
    let last = lines.get(PAGE_LEN.saturating_sub(1));
    let Some(last) = last.map(|line| line.offset) else {
        let next = next_of(&lines).max(end);
        return EventsPage {
            lines,
            next,
            ..EventsPage::default()
        };
    };
    let before = lines.len();
    lines.retain(|line| line.offset <= last);
    let has_more = lines.len() < before;
    let next = next_of(&lines);
    EventsPage {
        next: if has_more { next } else { next.max(end) },
        lines,
        has_more,
        ..EventsPage::default()
    }
}

/// The offset behind these lines.
fn next_of(lines: &[HistoryLine]) -> Offset {
    let last = lines.last();
    last.map_or(0, |line| line.offset.saturating_add(1))
}

/// The first events from an offset on.
async fn from_offset(
    fleet: &Fleet,
    query: &EventsQuery,
    from: Offset,
) -> Result<EventsPage, FleetError> {
    let mut events = fleet.history().events(from)?;
    let (mut lines, mut scanned) = (Vec::new(), 0_usize);
    while lines.len() < PAGE_LEN && scanned < SCANNED_MAX {
        let read = events.page(READ_LEN).await?;
        if read.is_empty() {
            let next = events.from();
            return Ok(EventsPage {
                lines,
                next,
                ..EventsPage::default()
            });
        }
        scanned = scanned.saturating_add(read.len());
        lines.extend(read.into_iter().filter(|line| query.matches(line)));
    }
    Ok(EventsPage {
        lines,
        next: events.from(),
        has_more: true,
        ..EventsPage::default()
    })
}

/// The newest events. A journal may be long, so its end is read first, and more if too few match.
async fn newest(fleet: &Fleet, query: &EventsQuery, most: u32) -> Result<EventsPage, FleetError> {
    let most = usize::try_from(most).unwrap_or(PAGE_LEN).min(PAGE_LEN);
    let end = fleet.history().end();
    let mut span = u64::try_from(most.max(READ_LEN)).unwrap_or(u64::MAX);
    loop {
        let begin = end.saturating_sub(span).max(query.from);
        let (mut lines, mut next) = (Vec::new(), begin);
        loop {
            let page = from_offset(fleet, query, next).await?;
            next = page.next;
            lines.extend(page.lines);
            let extra = lines.len().saturating_sub(most);
            lines.drain(..extra);
            if !page.has_more {
                break;
            }
        }
        if lines.len() == most || begin == query.from {
            return Ok(EventsPage {
                lines,
                next,
                ..EventsPage::default()
            });
        }
        span = span.saturating_mul(WIDER);
    }
}

/// Adds the names of VSIs; everything else is shown by its ID.
async fn name_objects(fleet: &Fleet, lines: &mut [HistoryLine]) -> Result<(), FleetError> {
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for line in lines {
        if !names.contains_key(&line.entity) {
            let name = name_of(fleet, &line.entity).await?;
            names.insert(line.entity.clone(), name);
        }
        line.object = names.get(&line.entity).cloned();
    }
    Ok(())
}

async fn name_of(fleet: &Fleet, entity: &str) -> Result<String, FleetError> {
    let vsi = entity.strip_prefix("vsi/").and_then(|id| id.parse().ok());
    let title = match vsi.map(vsi_entity) {
        Some(Ok(vsi)) => fleet.title(&vsi).await?,
        _ => None,
    };
    Ok(match title {
        Some((namespace, name)) if namespace == "default" => format!("vsi/{name}"),
        Some((namespace, name)) => format!("vsi/{namespace}/{name}"),
        None => entity.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::fleet::HistoryError;

    fn lines(offsets: impl IntoIterator<Item = Offset>) -> Vec<HistoryLine> {
        let line = |offset| HistoryLine {
            offset,
            ..HistoryLine::default()
        };
        offsets.into_iter().map(line).collect()
    }

    #[test]
    fn a_page_divides_no_offset_and_the_next_one_begins_behind_it() {
        let short = cut(lines([1, 2]), 9);
        assert_eq!(
            (short.lines.len(), short.next, short.has_more),
            (2, 9, false)
        );
        let page_len = u64::try_from(PAGE_LEN).unwrap();
        let divided = (1..page_len).chain([page_len, page_len, page_len, page_len + 1]);
        let long = cut(lines(divided), page_len + 2);
        assert_eq!(long.lines.len(), PAGE_LEN + 2);
        assert_eq!((long.next, long.has_more), (page_len + 1, true));
        let exact = cut(lines(1..=page_len), page_len + 7);
        assert_eq!((exact.next, exact.has_more), (page_len + 7, false));
    }

    #[test]
    fn filters_leave_out_everything_but_what_is_missing() {
        let now = Timestamp::now();
        let line = |ago: i64, actor: &str, failed: bool| HistoryLine {
            time: (now - SignedDuration::from_secs(ago)).to_string(),
            actor: actor.to_owned(),
            error: failed.then(HistoryError::default),
            ..HistoryLine::default()
        };
        let old = line(7_200, "engine", true);
        let mine = line(60, "unix:1000 (ann)", false);
        let failed = line(30, "engine", true);
        let missing = HistoryLine::default();
        let all = [&old, &mine, &failed, &missing];
        let shown = |query: EventsQuery| -> Vec<&HistoryLine> {
            let matching = all.iter().copied().filter(|one| query.matches(one));
            matching.collect()
        };
        assert_eq!(shown(EventsQuery::default()), all);
        let hour = EventsQuery {
            since: Some(EventTime(now - SignedDuration::from_secs(3_600))),
            ..EventsQuery::default()
        };
        assert_eq!(shown(hour.clone()), [&mine, &failed, &missing]);
        let by_ann = EventsQuery {
            actor: Some("ann".to_owned()),
            ..EventsQuery::default()
        };
        assert_eq!(shown(by_ann), [&mine, &missing]);
        let failures = EventsQuery {
            failed: true,
            ..hour
        };
        assert_eq!(shown(failures), [&failed, &missing]);
    }
}
