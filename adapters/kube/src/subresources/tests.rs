use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt as _, Empty, StreamBody};
use k8s_openapi::api::core::v1::ConfigMap;

use super::{
    ConsoleRefused, ConsoleRequest, Consoles, GROUP, HttpAnswer, Subresources, VERSION,
    caller::RequestCaller,
    discovery, holding,
    route::{Route, RouteOptions, route},
    trust::Trust,
    turns::NamespaceTurns,
};
use crate::kind::{ResourceKind, Subresource};

/// Opens no console.
struct NoConsoles;

#[async_trait]
impl Consoles for NoConsoles {
    async fn open(&self, _: ConsoleRequest) -> Result<(), ConsoleRefused> {
        Err(ConsoleRefused::Busy)
    }
}

impl Subresources {
    /// The answer to a permitted request for a VSI's log.
    pub(crate) async fn logs_of(&self, namespace: &str, name: &str) -> Response<HttpAnswer> {
        let path =
            format!("/apis/{GROUP}/{VERSION}/namespaces/{namespace}/onprem-hpcrs/{name}/logs");
        let Some(Route::Target(target)) = route(&path) else {
            panic!("{path} leads nowhere");
        };
        let trust = Trust::of(&config_map(&[])).unwrap();
        let caller = RequestCaller::named(&trust, &headers(&[("x-remote-user", b"jo")])).unwrap();
        let request = Request::get(&path).body(Empty::<Bytes>::new()).unwrap();
        let answered = self
            .inner
            .permitted(&target, request, &NoConsoles, &caller)
            .await;
        answered.unwrap_or_else(|refusal| refusal.response())
    }
}

fn config_map(more: &[(&str, &str)]) -> ConfigMap {
    let plain = [
        ("requestheader-client-ca-file", "-----BEGIN"),
        ("requestheader-allowed-names", "[\"front-proxy\"]"),
        ("requestheader-username-headers", "[\"X-Remote-User\"]"),
        ("requestheader-group-headers", "[\"X-Remote-Group\"]"),
        (
            "requestheader-extra-headers-prefix",
            "[\"X-Remote-Extra-\"]",
        ),
    ];
    let all = plain.iter().chain(more);
    let data = all.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    ConfigMap {
        data: Some(data.collect::<BTreeMap<_, _>>()),
        ..ConfigMap::default()
    }
}

fn headers(all: &[(&'static str, &'static [u8])]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in all {
        headers.append(*name, http::HeaderValue::from_bytes(value).unwrap());
    }
    headers
}

#[test]
fn what_names_no_authority_or_cannot_be_read_lets_nobody_in() {
    assert!(Trust::of(&config_map(&[])).is_ok());
    for wrong in [
        ("requestheader-client-ca-file", ""),
        ("requestheader-client-ca-file", " \n"),
        ("requestheader-allowed-names", "front-proxy"),
        ("requestheader-username-headers", "[]"),
        ("requestheader-group-headers", "{}"),
    ] {
        assert!(Trust::of(&config_map(&[wrong])).is_err(), "{wrong:?}");
    }
    assert!(Trust::of(&ConfigMap::default()).is_err());
}

#[test]
fn a_caller_is_who_the_named_headers_say_and_nobody_else() {
    let trust = Trust::of(&config_map(&[])).unwrap();
    let caller = RequestCaller::named(
        &trust,
        &headers(&[
            ("x-remote-user", b"jo"),
            ("x-remote-group", b"devs"),
            ("x-remote-group", b"system:authenticated"),
            ("x-remote-extra-acme.com%2fproject", b"a"),
            ("x-remote-uid", b"not said to be one"),
            ("x-other-user", b"admin"),
        ]),
    )
    .unwrap();
    assert_eq!(caller.user, "jo");
    assert_eq!(caller.groups, ["devs", "system:authenticated"]);
    assert_eq!(caller.extra["acme.com/project"], ["a"]);
    assert_eq!(caller.uid, None);

    for unnamed in [
        headers(&[]),
        headers(&[("x-remote-user", b"")]),
        headers(&[("x-remote-group", b"system:masters")]),
        headers(&[("x-remote-user", b"\xff")]),
        headers(&[("x-remote-user", b"jo"), ("x-remote-group", b"\xff")]),
    ] {
        let refusal = RequestCaller::named(&trust, &unnamed).unwrap_err();
        assert_eq!(refusal.code(), "VSI1030");
    }
}

#[test]
fn headers_are_nothing_without_a_certificate_of_an_allowed_name() {
    let trust = Trust::of(&config_map(&[])).unwrap();
    let jo = headers(&[("x-remote-user", b"jo")]);
    for certificate in [None, Some(&b""[..]), Some(&b"\x30\x03\x02\x01\x01"[..])] {
        assert!(trust.caller(certificate, &jo).is_err());
    }
}

#[test]
fn only_paths_of_objects_that_have_it_lead_anywhere() {
    let base = "/apis/subresources.vsiflow.io";
    let path = |rest: &str| route(&format!("{base}{rest}"));
    assert_eq!(path(""), Some(Route::Group));
    assert_eq!(path("/v1"), Some(Route::Version));
    let Some(Route::Target(target)) = path("/v1/namespaces/a/onprem-hpcrs/web/history") else {
        panic!("no target");
    };
    assert_eq!(
        (target.namespace.as_str(), target.name.as_str()),
        ("a", "web")
    );
    assert_eq!(target.subresource, Subresource::History);
    assert_eq!(target.verb(&Method::GET).unwrap(), "get");
    assert!(target.verb(&Method::POST).is_err());
    for wrong in [
        "/",
        "/v2",
        "/v1/",
        "/v1/namespaces/a/onprem-hpcrs/web",
        "/v1/namespaces/a/onprem-hpcrs/web/history/",
        "/v1/namespaces/a/onprem-hpcrs/web/exec",
        "/v1/namespaces/a/onprem-hpcrs//history",
        "/v1/namespaces/a/onprem-hpcrs/..%2fb/history",
        "/v1/namespaces/A/onprem-hpcrs/web/history",
        "/v1/namespaces/a/onprem-networkrefs/net/history",
        "/v1/namespaces/a/onprem-datadisks/disk/logs",
        "/v1/namespaces/a/pods/web/history",
        "/v1//namespaces/a/onprem-hpcrs/web/history",
        "/v1/namespaces/a/images/disk.img/history",
        "/v1/namespaces/a.b/images/disk.img/upload",
        "/v1/namespaces/a/images/Disk.img/upload",
        "/v1/namespaces/a/images/../upload",
    ] {
        assert_eq!(path(wrong), None, "{wrong}");
    }
    assert_eq!(route("/apis/subresources.kubevirt.io/v1"), None);
}

#[test]
fn what_is_done_needs_another_verb_than_what_is_read() {
    let path = "/apis/subresources.vsiflow.io/v1/namespaces/a/onprem-hpcrs/web/retry";
    let Some(Route::Target(target)) = route(path) else {
        panic!("no target");
    };
    assert_eq!(target.verb(&Method::POST).unwrap(), "create");
    assert_eq!(target.verb(&Method::PUT).unwrap(), "update");
    for method in [Method::GET, Method::DELETE, Method::PATCH, Method::HEAD] {
        assert!(target.verb(&method).is_err(), "{method}");
    }
}

#[test]
fn a_console_is_opened_by_those_who_may_create_it_and_nobody_else() {
    let path = "/apis/subresources.vsiflow.io/v1/namespaces/a/virtualservers/web/console";
    let Some(Route::Target(target)) = route(path) else {
        panic!("no target");
    };
    assert_eq!(target.verb(&Method::POST).unwrap(), "create");
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        assert!(target.verb(&method).is_err(), "{method}");
    }
    assert!(RouteOptions::of("force=true", &["force"]).unwrap().force);
}

#[test]
fn an_option_that_is_not_known_is_refused_and_not_ignored() {
    let known = ["follow", "from"];
    let options = RouteOptions::of("from=7&follow", &known).unwrap();
    assert_eq!((options.from, options.follow), (7, true));
    assert!(!RouteOptions::of("follow=false", &known).unwrap().follow);
    for wrong in ["folow", "from=-1", "from=", "failed=true", "follow=maybe"] {
        let refusal = RouteOptions::of(wrong, &known).unwrap_err();
        assert_eq!(refusal.code(), "VSI1033", "{wrong}");
    }
}

#[test]
fn discovery_lists_every_subresource_of_every_kind() {
    let listed = discovery::resources();
    let listed = listed["resources"].as_array().unwrap();
    let all: usize = ResourceKind::ALL
        .iter()
        .map(|kind| kind.subresources().len())
        .sum();
    assert_eq!(listed.len(), all + 1, "and what is sent");
    let retry = listed
        .iter()
        .find(|one| one["name"] == "onprem-hpcrs/retry");
    assert_eq!(
        retry.unwrap()["verbs"],
        serde_json::json!(["create", "update"])
    );
}

#[test]
fn an_answer_that_follows_something_holds_a_place_of_its_namespace_until_it_ends() {
    let places = NamespaceTurns::new(4, 1);
    let place = |namespace| places.turn_now(namespace);
    let pieces = StreamBody::new(futures::stream::pending::<std::io::Result<Frame<Bytes>>>());
    let followed: HttpAnswer = pieces.boxed_unsync();
    let followed = holding(Response::new(followed), place("shop").unwrap());
    assert!(place("shop").is_err() && place("other").is_ok());
    drop(followed);
    let whole = super::answer(http::StatusCode::OK, "text/plain", "all of it");
    let whole = holding(whole, place("shop").unwrap());
    assert_eq!(whole.body().size_hint().exact(), Some(9));
    assert!(place("shop").is_ok());
}
