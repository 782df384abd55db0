//! Lists and objects of every kind.
//!
//! Each kind has the same routes: a list; an object, and its deletion, if names of the kind are unique in a namespace.
//! Reading is answered from the journal immediately. The networks of hosts are not among them, because their hosts are
//! asked.

use aide::axum::{
    ApiRouter,
    routing::{delete_with, get_with},
};
use axum::{
    Extension, Json,
    extract::{Path, Query, State},
};
use vsiflow_workflows::kinds::{Kind, KindVisitor, NameScope, visit_kinds};

use super::{
    actions::{ActionResult, DeleteQuery, carry_out},
    resource::{Answer, AtQuery, List, ListQuery, ObjectPath, about},
};
use crate::{Caller, DeleteRequest, DeletionTarget, api::Api};

pub(super) fn view_routes() -> ApiRouter<Api> {
    let mut reading = ReadingRoutes::default();
    visit_kinds(&mut reading);
    merged(reading.0)
}

pub(super) fn changes() -> ApiRouter<Api> {
    let mut deletions = DeletionRoutes::default();
    visit_kinds(&mut deletions);
    merged(deletions.0)
}

fn merged(routes: Vec<ApiRouter<Api>>) -> ApiRouter<Api> {
    routes.into_iter().fold(ApiRouter::new(), ApiRouter::merge)
}

/// The routes of each kind that answer from the journal.
#[derive(Default)]
struct ReadingRoutes(Vec<ApiRouter<Api>>);

impl KindVisitor for ReadingRoutes {
    fn visit<K: Kind>(&mut self) {
        if !K::ASKS_HOSTS {
            self.0.push(reading_of::<K>());
        }
    }
}

/// The routes of each kind for deletions.
#[derive(Default)]
struct DeletionRoutes(Vec<ApiRouter<Api>>);

impl KindVisitor for DeletionRoutes {
    fn visit<K: Kind>(&mut self) {
        if let (Some(summary), NameScope::Namespace) = (K::DELETION, K::NAMES) {
            let id = format!("delete{}", K::RESOURCE.name);
            let deletes = delete_with(delete::<K>, about(&id, K::RESOURCE.path, summary));
            let route = ApiRouter::new().api_route(&object_path::<K>(), deletes);
            self.0.push(route);
        }
    }
}

fn object_path<K: Kind>() -> String {
    format!("/v1/namespaces/{{namespace}}/{}/{{name}}", K::RESOURCE.path)
}

fn reading_of<K: Kind>() -> ApiRouter<Api> {
    let (path, name, words) = (K::RESOURCE.path, K::RESOURCE.name, K::WORDS);
    let collection = format!("/v1/{path}");
    let about_list = || {
        let summary = format!("List {}", words.plural);
        about(&format!("list{name}s"), path, &summary)
    };
    match K::NAMES {
        NameScope::Namespace => {
            let lists = get_with(list_in_namespaces::<K>, about_list());
            let summary = format!("Show a {}", words.noun);
            let gets = get_with(get::<K>, about(&format!("get{name}"), path, &summary));
            ApiRouter::new()
                .api_route(&collection, lists)
                .api_route(&object_path::<K>(), gets)
        }
        NameScope::Journal | NameScope::Host => {
            let lists = get_with(list::<K>, about_list());
            ApiRouter::new().api_route(&collection, lists)
        }
    }
}

async fn list_in_namespaces<K: Kind>(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<ListQuery>,
) -> Answer<List<K::Object>> {
    let fleets = api.fleets_at(&caller, query.at).await?;
    let mut objects = K::list(&fleets, query.deleted).await?;
    objects.retain(|object| query.includes(K::identity(object).namespace));
    Ok(List::of(objects))
}

async fn list<K: Kind>(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<AtQuery>,
) -> Answer<List<K::Object>> {
    let fleets = api.fleets_at(&caller, query.at).await?;
    Ok(List::of(K::list(&fleets, false).await?))
}

async fn get<K: Kind>(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(target): Path<ObjectPath>,
    Query(query): Query<AtQuery>,
) -> Answer<K::Object> {
    let fleets = api.fleets_at(&caller, query.at).await?;
    let object = K::get(&fleets, &target.namespace, &target.name).await?;
    Ok(Json(object))
}

async fn delete<K: Kind>(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(target): Path<ObjectPath>,
    Query(query): Query<DeleteQuery>,
) -> Answer<ActionResult> {
    let request = DeleteRequest {
        namespace: target.namespace,
        objects: vec![DeletionTarget::named(format!(
            "{}/{}",
            K::WORDS.singular,
            target.name
        ))],
        orphan: query.orphan,
        release: false,
        ignore_not_found: false,
        reason: query.reason,
    };
    Ok(Json(
        carry_out(&api, &caller, request, query.wait_seconds).await?,
    ))
}
