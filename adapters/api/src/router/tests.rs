use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use tower::util::ServiceExt as _;
use vsiflow_engine::{executor::By, secret::Secret};
use vsiflow_workflows::fleet::{ConsoleNote, FleetError, Fleets};

use super::*;
use crate::{
    CallerCommand, CommandEnd, CommandNeeds, CommandOutput, Commands, ForwardedAnswer,
    ForwardedRequest, JournalSet,
};

struct NoCommands;

#[async_trait]
impl Commands for NoCommands {
    fn actor(&self, _: u32) -> Actor {
        Actor::Token(Who::new("nobody"))
    }

    fn about(&self, _: &[String]) -> Result<CommandNeeds, Problem> {
        Err(Problem::busy("no commands here"))
    }

    async fn run(&self, _: CallerCommand, _: CommandOutput) -> CommandEnd {
        CommandEnd::default()
    }
}

/// A set whose journals cannot be read; counts who tries.
#[derive(Default)]
struct ClosedSet {
    readings_of_all: AtomicUsize,
    readings_of_tokens: AtomicUsize,
}

fn closed<T>(readings: &AtomicUsize) -> Result<T, Problem> {
    readings.fetch_add(1, Ordering::Relaxed);
    Err(Problem::busy("nothing is read here"))
}

#[async_trait]
impl JournalSet for ClosedSet {
    async fn fleets(&self) -> Result<Arc<Fleets>, Problem> {
        closed(&self.readings_of_all)
    }

    async fn with_tokens(&self) -> Result<Arc<Fleets>, Problem> {
        closed(&self.readings_of_tokens)
    }

    async fn answer(&self, _: u16, _: ForwardedRequest) -> Result<ForwardedAnswer, Problem> {
        closed(&self.readings_of_all)
    }

    async fn note_console(&self, _: u16, _: ConsoleNote, _: By) -> Result<(), FleetError> {
        Ok(())
    }
}

#[tokio::test]
async fn a_wrong_token_has_no_other_journal_read_than_that_of_the_tokens() {
    let set = Arc::<ClosedSet>::default();
    let service = Api::of_set(set.clone(), Arc::new(NoCommands)).token_service();
    let token = Token::new("0123456789ab", Secret::new("0".repeat(64)), b"other").text();
    let requests = [
        None,
        Some("Bearer nothing".to_owned()),
        Some(format!("Bearer {token}")),
    ];
    for shown in requests {
        let mut request = Request::get("/v1/hosts");
        if let Some(shown) = shown {
            request = request.header(AUTHORIZATION, shown);
        }
        let request = request.body(Body::empty()).unwrap();
        let answer = service.clone().oneshot(request).await.unwrap();
        assert!(!answer.status().is_success());
    }
    assert_eq!(set.readings_of_all.load(Ordering::Relaxed), 0);
    // What is no token in form is not looked up.
    assert_eq!(set.readings_of_tokens.load(Ordering::Relaxed), 1);
}
