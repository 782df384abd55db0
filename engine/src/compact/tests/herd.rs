//! VSIs that came and went, each as the program itself wrote it once.

use std::{collections::HashMap, ops::Range, sync::LazyLock};

use ulid::Ulid;

use super::*;
use crate::{
    journal::Append,
    model::{Event, EventKind, Payload, RunId},
};

pub(crate) const ID: &str = "01JXHERD";
/// Events of a VSI's life, without that of its host.
pub(crate) const EVENTS: u64 = 79;
const BEGIN: u64 = 1_700_000_000_000;
const UID: &str = "89d61e12-5fa5-4d2b-b84e-c9bc0885e418";

pub(crate) type Batch = Vec<(StreamId, Event)>;

/// One life, as a golden journal has it.
static LIFE: LazyLock<Vec<Batch>> = LazyLock::new(|| {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/journals/v1/sim.jsonl");
    let (mut batches, mut batch) = (Vec::new(), Vec::new());
    for line in std::fs::read_to_string(file).unwrap().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        match line["kind"].as_str().unwrap() {
            "event" => batch.push(event(line["record"].as_str().unwrap())),
            "batch" => batches.push(std::mem::take(&mut batch)),
            _ => {}
        }
    }
    batches
});

fn event(record: &str) -> (StreamId, Event) {
    use base64::Engine as _;
    let bytes = base64::prelude::BASE64_STANDARD.decode(record).unwrap();
    let record = Stored::parse(bytes).unwrap().record().unwrap();
    (record.stream, record.event)
}

/// When the VSI of that number comes.
pub(crate) fn time(number: u64) -> u64 {
    BEGIN + number * 1_000
}

fn uid(number: u64) -> String {
    UID.replace("89d61e12", &format!("{number:08x}"))
}

fn run(old: RunId, number: u64) -> RunId {
    RunId(Ulid::from_parts(
        time(number),
        old.0.random() ^ u128::from(number),
    ))
}

fn entity(old: &EntityId, number: u64) -> EntityId {
    EntityId::new(old.kind().clone(), old.id().replace(UID, &uid(number))).unwrap()
}

fn stream(old: &StreamId, number: u64) -> StreamId {
    match old {
        StreamId::Entity(id) => StreamId::Entity(entity(id, number)),
        StreamId::Run(id) => StreamId::Run(run(*id, number)),
        StreamId::Journal => StreamId::Journal,
    }
}

/// The stream of a VSI.
pub(crate) fn vsi(number: u64) -> StreamId {
    let id = EntityId::new(crate::model::Name::of("vsi"), uid(number)).unwrap();
    StreamId::Entity(id)
}

/// The stream of the image that all of them wait for.
pub(crate) fn image() -> StreamId {
    let streams = LIFE.iter().flatten().map(|(stream, _)| stream);
    let image = |s: &&StreamId| matches!(s, StreamId::Entity(id) if id.kind().as_str() == "image");
    streams.into_iter().find(image).unwrap().clone()
}

/// The stream of the run that provisioned a VSI.
pub(crate) fn provisioning(number: u64) -> StreamId {
    let runs = LIFE.iter().flatten().map(|(stream, _)| stream);
    let first = runs.into_iter().find(|s| matches!(s, StreamId::Run(_)));
    stream(first.unwrap(), number)
}

/// All VSIs share the image, whose generations go on from life to life.
fn generation(of: &StreamId, old: u64, number: u64) -> u64 {
    match of {
        StreamId::Entity(id) if id.kind().as_str() == "image" => old + number,
        _ => old,
    }
}

fn renamed(of: &StreamId, kind: &EventKind, number: u64) -> EventKind {
    let mut kind = kind.clone();
    match &mut kind {
        EventKind::RunOpened {
            run: id,
            generation: g,
            ..
        } => {
            (*id, *g) = (run(*id, number), generation(of, *g, number));
        }
        EventKind::RunClosed { run: id, .. } => *id = run(*id, number),
        EventKind::Desired {
            generation: g,
            desired,
            ..
        } => {
            *g = generation(of, *g, number);
            *desired = payload(desired, number);
        }
        EventKind::RunStarted {
            entity: id,
            generation: g,
            ..
        } => {
            *g = generation(&StreamId::Entity(id.clone()), *g, number);
            *id = entity(id, number);
        }
        EventKind::StepSucceeded { output, .. } => *output = payload(output, number),
        _ => {}
    }
    kind
}

fn payload(old: &Payload, number: u64) -> Payload {
    let Payload::Inline(bytes) = old else {
        return old.clone();
    };
    let text = String::from_utf8_lossy(bytes).replace(UID, &uid(number));
    Payload::Inline(text.into_bytes())
}

/// The life of the VSI of that number, batch by batch.
pub(crate) fn batches(number: u64) -> Vec<Batch> {
    let made = |(of, event): &(StreamId, Event)| {
        let kind = renamed(of, &event.kind, number);
        let at = Timestamp(time(number));
        let event = Event {
            at,
            kind,
            ..event.clone()
        };
        (stream(of, number), event)
    };
    // The host is there already for the later ones.
    let is_host =
        |stream: &StreamId| matches!(stream, StreamId::Entity(id) if id.kind().as_str() == "host");
    let wanted = |batch: &&(StreamId, Event)| number == 0 || !is_host(&batch.0);
    LIFE.iter()
        .map(|batch| batch.iter().filter(wanted).map(made).collect())
        .collect()
}

/// Writes lives, knowing how far each stream is.
pub(crate) struct Writer<'a> {
    journal: &'a dyn ChainedJournal,
    heads: HashMap<StreamId, u64>,
}

impl<'a> Writer<'a> {
    pub(crate) async fn on(journal: &'a dyn ChainedJournal) -> Self {
        let heads = journal.streams().await.unwrap().into_iter();
        Self {
            journal,
            heads: heads.map(|head| (head.stream, head.next_seq)).collect(),
        }
    }

    pub(crate) async fn append(&mut self, batch: &[(StreamId, Event)]) {
        let mut request: Vec<Append> = Vec::new();
        for (stream, event) in batch {
            let next = self.heads.entry(stream.clone()).or_default();
            match request.iter_mut().find(|append| append.stream == *stream) {
                Some(append) => append.events.push(event.clone()),
                None => request.push(Append {
                    stream: stream.clone(),
                    expected_seq: *next,
                    events: vec![event.clone()],
                }),
            }
            *next += 1;
        }
        self.journal.append(request).await.unwrap();
    }
}

/// Appends batches as they are.
pub(crate) async fn append(journal: &dyn ChainedJournal, batches: &[Batch]) {
    let mut writer = Writer::on(journal).await;
    for batch in batches {
        writer.append(batch).await;
    }
}

/// Writes whole lives, batch by batch.
pub(crate) async fn write(journal: &dyn ChainedJournal, numbers: Range<u64>) {
    let mut writer = Writer::on(journal).await;
    for batch in numbers.flat_map(batches) {
        writer.append(&batch).await;
    }
}

/// Writes whole lives, each as one batch, so that a test waits for few syncs.
pub(crate) async fn write_at_once(journal: &dyn ChainedJournal, numbers: Range<u64>) {
    let mut writer = Writer::on(journal).await;
    for number in numbers {
        writer.append(&batches(number).concat()).await;
    }
}
