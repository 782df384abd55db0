use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use tower::util::ServiceExt as _;
use vsiflow_engine::{executor::By, secret::Secret};
use vsiflow_workflows::{
    fleet::{ConsoleNote, FleetError, Fleets},
    kinds::ObjectKind,
};

use super::*;
use crate::{ApiPorts, ForwardedAnswer, ForwardedRequest, JournalSet, SetAnswer, SetWork};

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

    async fn claimed_by(&self, _: ObjectKind, _: &str, _: &str) -> Result<Option<u16>, Problem> {
        Ok(None)
    }

    async fn answer(&self, _: u16, _: ForwardedRequest) -> Result<ForwardedAnswer, Problem> {
        closed(&self.readings_of_all)
    }

    async fn carry_out(&self, _: SetWork<'_>) -> Result<SetAnswer, Problem> {
        Err(Problem::busy("nothing is carried out here"))
    }

    async fn note_console(&self, _: u16, _: ConsoleNote, _: By) -> Result<(), FleetError> {
        Ok(())
    }
}

#[tokio::test]
async fn a_wrong_token_has_no_other_journal_read_than_that_of_the_tokens() {
    let set = Arc::<ClosedSet>::default();
    let service = Api::of_set(set.clone(), ApiPorts::default()).token_service();
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

/// A set whose journals are opened when the test says so.
struct SlowSet(tokio::sync::Semaphore);

#[async_trait]
impl JournalSet for SlowSet {
    async fn fleets(&self) -> Result<Arc<Fleets>, Problem> {
        let _ = self.0.acquire().await;
        Err(Problem::busy("nothing is read here"))
    }

    async fn with_tokens(&self) -> Result<Arc<Fleets>, Problem> {
        Err(Problem::busy("there are no tokens"))
    }

    async fn claimed_by(&self, _: ObjectKind, _: &str, _: &str) -> Result<Option<u16>, Problem> {
        Ok(None)
    }

    async fn answer(&self, _: u16, _: ForwardedRequest) -> Result<ForwardedAnswer, Problem> {
        Err(Problem::busy("nothing is answered here"))
    }

    async fn carry_out(&self, _: SetWork<'_>) -> Result<SetAnswer, Problem> {
        Err(Problem::busy("nothing is carried out here"))
    }

    async fn note_console(&self, _: u16, _: ConsoleNote, _: By) -> Result<(), FleetError> {
        Ok(())
    }
}

#[tokio::test]
async fn a_caller_with_many_lists_and_pages_waits_while_another_is_answered() {
    const EACH: usize = 4;
    let set = Arc::new(SlowSet(tokio::sync::Semaphore::new(0)));
    let api = Api::of_set(set.clone(), ApiPorts::default());
    let ask = |name: &str, path: &str| {
        let mut request = Request::get(path).body(Body::empty()).unwrap();
        request.extensions_mut().insert(Caller {
            actor: Actor::Token(Who::new(name)),
            rights: Rights::Look,
        });
        tokio::spawn(api.routes().oneshot(request))
    };
    let paths = ["/v1/virtualservers", "/", "/v1/hosts", "/pools"];
    let many: Vec<_> = paths
        .iter()
        .cycle()
        .take(3 * EACH)
        .map(|path| ask("one", path))
        .collect();
    let one = Caller {
        actor: Actor::Token(Who::new("one")),
        rights: Rights::Look,
    };
    while api.turns().request(&one).now_or_never().is_some() {
        tokio::task::yield_now().await;
    }
    let other = Caller {
        actor: Actor::Token(Who::new("other")),
        rights: Rights::Look,
    };
    assert!(api.turns().request(&other).now_or_never().is_some());
    // What needs no place is answered meanwhile, also to the first.
    let asset = ask("one", "/assets/page.css").await.unwrap().unwrap();
    assert!(asset.status().is_success());
    set.0.add_permits(1);
    let answered = ask("other", "/v1/virtualservers").await.unwrap().unwrap();
    assert_eq!(answered.status(), StatusCode::SERVICE_UNAVAILABLE);
    for answer in many {
        let answer = answer.await.unwrap().unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
