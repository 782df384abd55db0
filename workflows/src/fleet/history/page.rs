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
/// How much of a journal's end is looked through first, in events.
const FIRST_SPAN: u64 = 1_000;
/// How many lines a page has at most, apart from those of one offset.
const PAGE_LEN: usize = 10_000;
/// How many events are read for a page at most.
const SCANNED_MAX: u64 = 200_000;
/// By which factor more of a journal's end is read if too few events match.
const WIDER: u64 = 8;

/// Which events are asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// The newest ones alone, at most this many and at most 10,000; of everything.
    pub newest: Option<u32>,
    /// The newest ones before this offset.
    pub before: Option<Offset>,
    /// Since this moment, RFC 3339.
    pub since: Option<EventTime>,
    /// Those of an actor whose name contains this.
    pub actor: Option<String>,
    /// Failures alone.
    pub failed: bool,
    /// The names of the objects, too.
    pub name_objects: bool,
}

impl Default for EventsQuery {
    fn default() -> Self {
        Self {
            name: None,
            namespace: "default".to_owned(),
            journal: None,
            from: 0,
            newest: None,
            before: None,
            since: None,
            actor: None,
            failed: false,
            name_objects: false,
        }
    }
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
    /// Of the newest ones: before which offset the search goes on, if fewer were found and it is not over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Offset>,
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
    /// The most events that one answer has.
    pub const PAGE_LEN: usize = PAGE_LEN;

    /// Whether a line is from before the time that is asked for, and so is everything before it.
    fn is_too_early(&self, line: &HistoryLine) -> bool {
        let time = line.time.parse::<Timestamp>();
        let since = self.since.as_ref();
        since.is_some_and(|EventTime(since)| time.is_ok_and(|time| time < *since))
    }

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
    let read = history.lines_since(&query.namespace, name, query.from, PAGE_LEN);
    let mut read = read.await?;
    read.lines.retain(|line| query.matches(line));
    Ok(EventsPage {
        lines: read.lines,
        next: read.next,
        has_more: read.is_cut,
        ..EventsPage::default()
    })
}

/// The first events from an offset on.
async fn from_offset(
    fleet: &Fleet,
    query: &EventsQuery,
    from: Offset,
) -> Result<EventsPage, FleetError> {
    let mut events = fleet.history().events(from)?;
    if from >= fleet.history().end() {
        return Ok(EventsPage {
            next: from,
            ..EventsPage::default()
        });
    }
    let (mut lines, scan_end) = (Vec::new(), from.saturating_add(SCANNED_MAX));
    while lines.len() < PAGE_LEN && events.from() < scan_end {
        let read = events.page(READ_LEN).await?;
        if read.is_empty() {
            let next = events.from();
            return Ok(EventsPage {
                lines,
                next,
                ..EventsPage::default()
            });
        }
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
    let mut to = query.before.map_or(end, |before| before.min(end));
    let (mut lines, mut scanned, mut span) = (Vec::new(), 0_u64, FIRST_SPAN);
    let mut is_over = to <= query.from;
    while !is_over && lines.len() < most && scanned < SCANNED_MAX {
        let begin = to.saturating_sub(span).max(query.from);
        let read = between(fleet, begin, to).await?;
        scanned = scanned.saturating_add(to.saturating_sub(begin));
        let is_before_all = read.first().is_some_and(|line| query.is_too_early(line));
        is_over = begin == query.from || is_before_all;
        let earlier = read.into_iter().filter(|line| query.matches(line));
        lines = earlier.chain(lines).collect();
        to = begin;
        span = span.saturating_mul(WIDER).min(SCANNED_MAX);
    }
    let extra = lines.len().saturating_sub(most);
    lines.drain(..extra);
    Ok(EventsPage {
        previous: (!is_over && lines.len() < most).then_some(to),
        lines,
        next: end,
        ..EventsPage::default()
    })
}

/// The events from an offset on, before another one.
async fn between(fleet: &Fleet, from: Offset, to: Offset) -> Result<Vec<HistoryLine>, FleetError> {
    let mut events = fleet.history().events(from)?;
    let mut lines = Vec::new();
    while events.from() < to {
        let left = usize::try_from(to.saturating_sub(events.from()));
        let read = events.page(left.unwrap_or(READ_LEN).min(READ_LEN)).await?;
        if read.is_empty() {
            break;
        }
        lines.extend(read);
    }
    lines.retain(|line| line.offset < to);
    Ok(lines)
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
