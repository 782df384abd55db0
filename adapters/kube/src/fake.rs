//! A fake API server in this process, which fails on demand. It is only for fault tests: normal
//! behaviour is tested against a real API server.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody, combinators::UnsyncBoxBody};
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tokio::sync::watch;

/// Resource, namespace and name.
type ResourcePath = (String, String, String);
type FakeAnswer = UnsyncBoxBody<Bytes, std::io::Error>;

/// How many changes are retained for watches; a watch that is further behind must list again.
const CHANGES_MAX: usize = 65_536;

/// A failure that is returned instead of the answer.
#[derive(Clone, Debug)]
pub(crate) struct FakeFault {
    /// All of these must be in the request line: method, path and query.
    pub(crate) of: &'static [&'static str],
    pub(crate) code: u16,
    /// How many requests fail.
    pub(crate) times: usize,
    /// The request is carried out, and only its answer is lost.
    pub(crate) done: bool,
}

#[derive(Default)]
struct FakeState {
    objects: BTreeMap<ResourcePath, Value>,
    version: u64,
    /// The newest changes: version, path and watch event of each.
    log: VecDeque<(u64, ResourcePath, Value)>,
    faults: Vec<FakeFault>,
    requests: Vec<String>,
    /// Resources whose lists are empty although there are objects.
    empty: BTreeSet<&'static str>,
    /// Objects that are missing in lists.
    left_out: BTreeSet<ResourcePath>,
    /// Whether a list ends after its first object, and what would continue it has expired.
    is_list_expired: bool,
    /// Older versions are too old for a watch.
    oldest: u64,
}

/// The server; clones share it.
#[derive(Clone)]
pub(crate) struct FakeServer {
    state: Arc<Mutex<FakeState>>,
    /// Counts changes, and cuts of watches.
    changed: Arc<watch::Sender<(u64, u64)>>,
}

impl FakeServer {
    pub(crate) fn new() -> Self {
        Self {
            state: Arc::default(),
            changed: Arc::new(watch::Sender::new((0, 0))),
        }
    }

    pub(crate) fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move { Ok::<_, std::io::Error>(server.answer(request).await) }
        });
        Client::new(service, "default")
    }

    fn lock(&self) -> MutexGuard<'_, FakeState> {
        self.state.lock().unwrap()
    }

    pub(crate) fn fail(&self, fault: FakeFault) {
        self.lock().faults.push(fault);
    }

    pub(crate) fn heal(&self) {
        let mut state = self.lock();
        state.faults.clear();
        state.empty.clear();
        state.left_out.clear();
        state.is_list_expired = false;
    }

    /// Makes lists of this resource empty.
    pub(crate) fn list_nothing_of(&self, resource: &'static str) {
        self.lock().empty.insert(resource);
    }

    /// Makes lists lack this object.
    pub(crate) fn leave_out_of_lists(&self, resource: &str, name: &str) {
        self.lock().left_out.insert(place(resource, name));
    }

    /// Makes lists expire after their first page, which has one object.
    pub(crate) fn expire_lists(&self) {
        self.lock().is_list_expired = true;
    }

    /// Cuts every watch, so that they must list again.
    pub(crate) fn cut(&self) {
        {
            let mut state = self.lock();
            state.version += 1;
            state.oldest = state.version;
        }
        self.changed.send_modify(|(_, cuts)| *cuts += 1);
    }

    /// Requests whose line has all of these words.
    pub(crate) fn requests(&self, words: &[&str]) -> usize {
        let state = self.lock();
        let has = |line: &&String| words.iter().all(|word| line.contains(word));
        state.requests.iter().filter(has).count()
    }

    /// Creates an object, or changes one: its spec, labels or data. Its name may be
    /// `NAMESPACE/NAME`.
    pub(crate) fn apply(&self, resource: &str, name: &str, uid: uuid::Uuid, rest: Value) {
        let place = place(resource, name);
        let mut state = self.lock();
        let before = state.objects.get(&place).cloned();
        let generation = before
            .as_ref()
            .map_or(0, |o| o["metadata"]["generation"].as_i64().unwrap());
        let mut object = before.unwrap_or_else(|| {
            json!({"metadata": {
                "name": place.2, "namespace": place.1, "uid": uid,
                "creationTimestamp": "2026-01-01T00:00:00Z",
            }})
        });
        merge(&mut object, rest);
        object["metadata"]["generation"] = json!(generation + 1);
        self.store(&mut state, place, object);
    }

    /// Adds an object as if it had existed before. Only benchmarks need it.
    #[allow(dead_code)]
    pub(crate) fn load(&self, resource: &str, object: Value) {
        let meta = &object["metadata"];
        let part = |field: &str| meta[field].as_str().unwrap().to_owned();
        let place = (resource.to_owned(), part("namespace"), part("name"));
        let version: u64 = part("resourceVersion").parse().unwrap();
        let mut state = self.lock();
        state.version = state.version.max(version);
        state.objects.insert(place, object);
    }

    /// Changes the metadata of an object, which is no new generation.
    pub(crate) fn relabel(&self, resource: &str, name: &str, rest: Value) {
        let place = place(resource, name);
        let mut state = self.lock();
        let mut object = state.objects[&place].clone();
        merge(&mut object, rest);
        self.store(&mut state, place, object);
    }

    /// Replaces the status of an object, as another process with the right to do so.
    pub(crate) fn overwrite_status(&self, resource: &str, name: &str, status: Value) {
        let place = place(resource, name);
        let mut state = self.lock();
        let mut object = state.objects[&place].clone();
        object["status"] = status;
        self.store(&mut state, place, object);
    }

    /// Deletes an object; if it has finalizers, it is only marked.
    pub(crate) fn delete(&self, resource: &str, name: &str) {
        let place = place(resource, name);
        let mut state = self.lock();
        let mut object = state.objects[&place].clone();
        object["metadata"]["deletionTimestamp"] = json!("2026-01-02T00:00:00Z");
        self.store(&mut state, place, object);
    }

    /// Removes an object, with or without finalizers.
    pub(crate) fn lose(&self, resource: &str, name: &str) {
        let place = place(resource, name);
        let mut state = self.lock();
        let mut object = state.objects[&place].clone();
        object["metadata"]["deletionTimestamp"] = json!("2026-01-02T00:00:00Z");
        object["metadata"]["finalizers"] = json!([]);
        self.store(&mut state, place, object);
    }

    pub(crate) fn get(&self, resource: &str, name: &str) -> Option<Value> {
        self.lock().objects.get(&place(resource, name)).cloned()
    }

    /// All objects of a kind.
    pub(crate) fn all(&self, resource: &str) -> Vec<Value> {
        let state = self.lock();
        let all = state.objects.iter();
        all.filter(|((of, ..), _)| of == resource)
            .map(|(_, object)| object.clone())
            .collect()
    }

    fn store(&self, state: &mut FakeState, place: ResourcePath, mut object: Value) -> Value {
        state.version += 1;
        let version = state.version;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let meta = &object["metadata"];
        let held = meta["finalizers"]
            .as_array()
            .is_some_and(|all| !all.is_empty());
        let known = state.objects.contains_key(&place);
        let kind = match (meta["deletionTimestamp"].is_string() && !held, known) {
            (true, _) => "DELETED",
            (false, true) => "MODIFIED",
            (false, false) => "ADDED",
        };
        match kind {
            "DELETED" => _ = state.objects.remove(&place),
            _ => _ = state.objects.insert(place.clone(), object.clone()),
        }
        let event = json!({"type": kind, "object": object});
        state.log.push_back((version, place, event));
        if state.log.len() > CHANGES_MAX
            && let Some((dropped, ..)) = state.log.pop_front()
        {
            state.oldest = state.oldest.max(dropped);
        }
        self.changed.send_modify(|(changes, _)| *changes += 1);
        object
    }

    async fn answer(&self, request: Request<Body>) -> Response<FakeAnswer> {
        let (parts, body) = request.into_parts();
        let line = format!("{} {}", parts.method, parts.uri);
        let body = body.collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let fault = {
            let mut state = self.lock();
            state.requests.push(line.clone());
            let mut faults = state.faults.iter_mut();
            let fault = faults
                .find(|fault| fault.times > 0 && fault.of.iter().all(|word| line.contains(word)));
            fault.map(|fault| {
                fault.times -= 1;
                fault.clone()
            })
        };
        if let Some(fault) = &fault
            && !fault.done
        {
            return refusal(fault.code);
        }
        let answer = self.carry_out(&parts.method, &parts.uri.to_string(), body);
        match fault {
            Some(fault) => refusal(fault.code),
            None => answer,
        }
    }

    fn carry_out(&self, method: &Method, uri: &str, body: Value) -> Response<FakeAnswer> {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let at = path.find("/namespaces/").unwrap();
        let rest: Vec<_> = path[at..].split('/').skip(2).collect();
        let (namespace, resource) = (rest[0].to_owned(), rest[1].to_owned());
        let name = rest.get(2).map_or(String::new(), |name| (*name).to_owned());
        let is_status = rest.get(3) == Some(&"status");
        let place = (resource, namespace, name);
        match *method {
            Method::GET if query.contains("watch=true") => self.watch(&place, query),
            Method::GET if place.2.is_empty() => self.list(&place, query),
            Method::GET => match self.lock().objects.get(&place) {
                Some(object) => plain(200, object),
                None => refusal(404),
            },
            Method::POST => self.create(place, body),
            Method::DELETE => self.mark(place, &body),
            Method::PUT => self.change(place, |_| body.clone(), &body),
            Method::PATCH if is_status => self.change(
                place,
                |object| {
                    let mut object = object.clone();
                    object["status"] = body["status"].clone();
                    object
                },
                &body,
            ),
            Method::PATCH => self.change(
                place,
                |object| {
                    let mut object = object.clone();
                    let before = object["spec"].clone();
                    merge(&mut object, body.clone());
                    if object["spec"] != before {
                        let generation = object["metadata"]["generation"].as_i64();
                        object["metadata"]["generation"] = json!(generation.unwrap_or(0) + 1);
                    }
                    object
                },
                &body,
            ),
            _ => refusal(405),
        }
    }

    fn list(&self, place: &ResourcePath, query: &str) -> Response<FakeAnswer> {
        let state = self.lock();
        if state.is_list_expired && query.contains("continue=") {
            return refusal(410);
        }
        let empty = state.empty.contains(place.0.as_str());
        let found = state.objects.iter().filter(|(path, _)| {
            let is_of_list = path.0 == place.0 && path.1 == place.1;
            !empty && is_of_list && !state.left_out.contains(*path)
        });
        let mut items: Vec<_> = found.map(|(_, object)| object.clone()).collect();
        let mut meta = json!({"resourceVersion": state.version.to_string()});
        if state.is_list_expired && items.len() > 1 {
            items.truncate(1);
            meta["continue"] = "next".into();
        }
        plain(200, &json!({"metadata": meta, "items": items}))
    }

    fn mark(&self, place: ResourcePath, body: &Value) -> Response<FakeAnswer> {
        let mut state = self.lock();
        let Some(mut object) = state.objects.get(&place).cloned() else {
            return refusal(404);
        };
        let uid = &body["preconditions"]["uid"];
        if uid.is_string() && *uid != object["metadata"]["uid"] {
            return refusal(409);
        }
        object["metadata"]["deletionTimestamp"] = json!("2026-01-02T00:00:00Z");
        let stored = self.store(&mut state, place, object);
        plain(200, &stored)
    }

    fn create(&self, mut place: ResourcePath, mut body: Value) -> Response<FakeAnswer> {
        place.2 = body["metadata"]["name"].as_str().unwrap().to_owned();
        if body["spec"].is_object() {
            body["metadata"]["uid"] = json!(uuid::Uuid::new_v4());
            body["metadata"]["generation"] = json!(1);
            body["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        let mut state = self.lock();
        if state.objects.contains_key(&place) {
            return refusal(409);
        }
        let stored = self.store(&mut state, place, body);
        plain(201, &stored)
    }

    fn change(
        &self,
        place: ResourcePath,
        change: impl Fn(&Value) -> Value,
        changed: &Value,
    ) -> Response<FakeAnswer> {
        let mut state = self.lock();
        let Some(object) = state.objects.get(&place).cloned() else {
            return refusal(404);
        };
        let differs = |field: &str| {
            let changed = &changed["metadata"][field];
            changed.is_string() && *changed != object["metadata"][field]
        };
        if differs("resourceVersion") || differs("uid") {
            return refusal(409);
        }
        let stored = self.store(&mut state, place, change(&object));
        plain(200, &stored)
    }

    fn watch(&self, place: &ResourcePath, query: &str) -> Response<FakeAnswer> {
        let from = query
            .split('&')
            .find_map(|part| part.strip_prefix("resourceVersion="));
        let from: u64 = from.unwrap().parse().unwrap();
        if from < self.lock().oldest {
            let event = json!({"type": "ERROR", "object": status(410)});
            return plain_text(200, format!("{event}\n"));
        }
        let (server, place) = (self.clone(), (place.0.clone(), place.1.clone()));
        let mut changed = self.changed.subscribe();
        let cuts = changed.borrow_and_update().1;
        let next = stream::unfold((from, changed), move |(seen, mut changed)| {
            let (server, place) = (server.clone(), place.clone());
            async move {
                loop {
                    if changed.borrow_and_update().1 != cuts {
                        return None;
                    }
                    let (text, newest) = server.since(seen, &place)?;
                    if !text.is_empty() {
                        let frame = http_body::Frame::data(Bytes::from(text));
                        return Some((Ok(frame), (newest, changed)));
                    }
                    if changed.changed().await.is_err() {
                        return None;
                    }
                }
            }
        });
        let body = StreamBody::new(next.boxed());
        Response::new(body.boxed_unsync())
    }

    /// The changes since a version; none if they are not retained any more.
    fn since(&self, seen: u64, place: &(String, String)) -> Option<(String, u64)> {
        let state = self.lock();
        if seen < state.oldest {
            return None;
        }
        let mut text = String::new();
        let first = state.log.partition_point(|(version, ..)| *version <= seen);
        for (_, (resource, namespace, _), event) in state.log.iter().skip(first) {
            if *resource == place.0 && *namespace == place.1 {
                text.push_str(&format!("{event}\n"));
            }
        }
        Some((text, state.version))
    }
}

fn place(resource: &str, name: &str) -> ResourcePath {
    let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
    (resource.to_owned(), namespace.to_owned(), name.to_owned())
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                if value.is_null() {
                    into.remove(&key);
                } else {
                    merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (into, from) => *into = from,
    }
}

fn status(code: u16) -> Value {
    let reason = StatusCode::from_u16(code).unwrap().canonical_reason();
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": reason, "reason": reason, "code": code,
    })
}

fn refusal(code: u16) -> Response<FakeAnswer> {
    plain(code, &status(code))
}

fn plain(code: u16, value: &Value) -> Response<FakeAnswer> {
    plain_text(code, value.to_string())
}

fn plain_text(code: u16, text: String) -> Response<FakeAnswer> {
    let body = http_body_util::Full::new(Bytes::from(text));
    let body = body.map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}
