//! A workflow of two steps that is killed in the middle and resumes.
//!
//! ```sh
//! cargo run -p vsiflow-engine --example hello_workflow
//! ```
//!
//! The first step writes a greeting into a file. The second one takes a second and then reads the
//! greeting. This process starts a second one that does the work (`… work DIR`), kills it while
//! the second step runs, and starts it again: the first step does not run again.

use std::{
    error::Error,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    Engine, EngineConfig,
    clock::SystemClock,
    executor::{By, Drive, Tuning},
    journal::{DiskJournal, Journal as _},
    lane::AlwaysUp,
    model::{
        Actor, EntityId, EventKind, Failure, FailureClass, Graph, Name, Node, Payload, Precedence,
        Text, Work,
    },
    registry::Registry,
    state_dir::StateDir,
    step::{Done, Observed, Step, StepContext},
    workflow::{DesiredUpdate, EntityView, Situation, Workflows},
};

type Answer<T> = Result<T, Box<dyn Error>>;

/// The parameters of both steps: where the greeting file is.
#[derive(Serialize, Deserialize)]
struct Params {
    file: PathBuf,
}

struct WriteGreeting;

/// A crash in the middle leaves an empty or half-written file; the next attempt rewrites it.
#[async_trait]
impl Step for WriteGreeting {
    const NAME: &'static str = "write_greeting";
    type Params = Params;
    type Output = ();

    async fn observe(&self, _: &StepContext, params: &Params) -> Result<Observed<()>, Failure> {
        match tokio::fs::read_to_string(&params.file).await {
            Ok(text) if text.ends_with('\n') => Ok(Observed::Present(())),
            _ => Ok(Observed::Needed),
        }
    }

    async fn run(&self, _: &StepContext, params: &Params) -> Result<Done<()>, Failure> {
        println!("write_greeting runs");
        tokio::fs::write(&params.file, "hello, workflow\n")
            .await
            .map_err(|error| failed(&error))?;
        Ok(Done::created(()))
    }
}

struct ReadAloud;

/// A crash in the middle leaves nothing.
#[async_trait]
impl Step for ReadAloud {
    const NAME: &'static str = "read_aloud";
    type Params = Params;
    type Output = String;

    async fn observe(&self, _: &StepContext, _: &Params) -> Result<Observed<String>, Failure> {
        Ok(Observed::Needed)
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<String>, Failure> {
        println!("read_aloud runs, attempt {}", cx.attempt);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let text = tokio::fs::read_to_string(&params.file).await;
        let text = text.map_err(|error| failed(&error))?;
        Ok(Done::created(text.trim_end().to_owned()))
    }
}

/// The failure class decides what the engine does next: here it retries, with a growing delay.
fn failed(error: &std::io::Error) -> Failure {
    Failure::new(FailureClass::Transient, "HELLO1", error.to_string())
}

/// The workflow `write_greeting` → `read_aloud`.
struct Hello;

impl Workflows for Hello {
    fn graph(&self, _: &Situation<'_>, workflow: &Name, desired: &[u8]) -> Result<Graph, Failure> {
        let node = |name: &str, after: &[&str]| Node {
            name: Name::of(name),
            after: after.iter().map(|before| Name::of(before)).collect(),
            work: Work::Step {
                step: Name::of(name),
                version: 1,
                params: Payload::Inline(desired.to_vec()),
            },
            lane: Text::default(),
            interruptible: false,
        };
        Ok(Graph {
            workflow: workflow.clone(),
            version: 1,
            nodes: vec![
                node(WriteGreeting::NAME, &[]),
                node(ReadAloud::NAME, &[WriteGreeting::NAME]),
            ],
        })
    }

    fn state(&self, view: &EntityView<'_>) -> Option<(Name, Text)> {
        let state = if view.entity.is_settled() {
            "Greeted"
        } else {
            "Greeting"
        };
        Some((Name::of(state), Text::default()))
    }
}

async fn open(state: &StateDir, journal: Arc<DiskJournal>) -> Answer<Engine> {
    let mut registry = Registry::default();
    registry.add(WriteGreeting).add(ReadAloud);
    let parts = EngineConfig {
        journal,
        blobs: Arc::new(state.blobs().await?),
        checkpoints: Arc::new(state.checkpoints().await?),
        registry,
        workflows: Arc::new(Hello),
        lanes: Arc::new(AlwaysUp),
        clock: Arc::new(SystemClock),
        journal_id: state.journal_id().into(),
        room: state.room(),
        lease: state.lease(),
        tuning: Tuning::default(),
    };
    Ok(Engine::open(parts).await?)
}

/// Submits the desired state, unless the journal already has it, and waits until it is reached.
async fn work(dir: &Path) -> Answer<()> {
    let state = StateDir::open(dir.join("state"))?;
    let journal = Arc::new(state.journal().await?);
    let engine = open(&state, journal.clone()).await?;
    let entity = EntityId::new(Name::of("greeting"), "hello")?;
    if engine.entity(&entity).is_none() {
        let file = dir.join("greeting.txt");
        engine.submit(vec![update(&entity, file)?], by()).await?;
    } else {
        let these = vec![entity.clone()];
        engine.drive(Drive::These(these)).await?;
    }
    let settled = || {
        engine
            .entity(&entity)
            .is_some_and(|known| known.is_settled())
    };
    while !settled() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    engine.close().await;
    journal.close().await;
    Ok(())
}

fn update(entity: &EntityId, file: PathBuf) -> Answer<DesiredUpdate> {
    Ok(DesiredUpdate {
        entity: entity.clone(),
        workflow: Name::of("hello"),
        precedence: Precedence::Supersede,
        desired: serde_json::to_vec(&Params { file })?,
        made_from: None,
        orders: Vec::new(),
        voids: Vec::new(),
    })
}

fn by() -> By {
    By {
        actor: Actor::Engine,
        reason: Text::new("an example"),
    }
}

async fn history(dir: &Path) -> Answer<()> {
    let state = StateDir::open(dir.join("state"))?;
    let journal = state.journal().await?;
    for record in journal.read_all(0, usize::MAX).await? {
        let kind = &record.event.kind;
        let (step, attempt) = kind.step();
        let step = step.map_or("", Name::as_str);
        let attempt = attempt.map_or_else(String::new, |attempt| format!(", attempt {attempt}"));
        let output = match kind {
            EventKind::StepSucceeded {
                output: Payload::Inline(json),
                ..
            } => String::from_utf8_lossy(json).into_owned(),
            _ => String::new(),
        };
        println!("{:<17}{step}{attempt} {output}", kind.type_name());
    }
    journal.close().await;
    Ok(())
}

fn worker(dir: &Path) -> Answer<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    Ok(command
        .arg("work")
        .arg(dir)
        .stdout(Stdio::piped())
        .spawn()?)
}

/// Prints the worker's output up to the line that starts with `stop`.
fn show_until(worker: &mut Child, stop: &str) -> Answer<()> {
    let output = worker.stdout.take().ok_or("the worker has no output")?;
    for line in BufReader::new(output).lines() {
        let line = line?;
        println!("  {line}");
        if line.starts_with(stop) {
            break;
        }
    }
    Ok(())
}

async fn story(dir: &Path) -> Answer<()> {
    println!("The first life:");
    let mut first = worker(dir)?;
    show_until(&mut first, ReadAloud::NAME)?;
    first.kill()?;
    first.wait()?;
    println!("Killed. The second life:");
    let mut second = worker(dir)?;
    show_until(&mut second, "nothing ends it early")?;
    if !second.wait()?.success() {
        return Err("the second life failed".into());
    }
    println!("The journal:");
    history(dir).await
}

#[tokio::main]
async fn main() -> Answer<()> {
    let mut arguments = std::env::args_os().skip(1);
    match (arguments.next(), arguments.next()) {
        (Some(word), Some(dir)) if word == "work" => work(Path::new(&dir)).await,
        _ => {
            let name = format!("hello-workflow-{}", std::process::id());
            let dir = std::env::temp_dir().join(name);
            std::fs::create_dir(&dir)?;
            let finished = story(&dir).await;
            std::fs::remove_dir_all(&dir)?;
            finished
        }
    }
}
