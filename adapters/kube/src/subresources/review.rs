//! Checks a user's right on an object: asks the API server for each request.

use std::time::Duration;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::{Api, Client, api::PostParams};
use tokio::time::timeout;

use super::{GROUP, Refusal, RequestCaller, VERSION, route::ReviewedObject};

/// How long the API server may take to answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// Succeeds if the user has the right.
pub(super) async fn ask(
    client: &Client,
    caller: &RequestCaller,
    target: impl Into<ReviewedObject<'_>>,
    verb: &str,
) -> Result<(), Refusal> {
    let target = &target.into();
    let api: Api<SubjectAccessReview> = Api::all(client.clone());
    let review = review(caller, target, verb);
    let params = PostParams::default();
    let done = timeout(DEADLINE, api.create(&params, &review)).await;
    let done = done.map_err(|_| Refusal::unknown_rights("it does not answer"))?;
    let done = done.map_err(|error| Refusal::unknown_rights(&error.to_string()))?;
    let status = done.status.unwrap_or_default();
    if status.allowed && !status.denied.unwrap_or_default() {
        Ok(())
    } else {
        let why = status.reason.unwrap_or_default();
        Err(Refusal::forbidden(target, &caller.user, verb, &why))
    }
}

fn review(caller: &RequestCaller, target: &ReviewedObject<'_>, verb: &str) -> SubjectAccessReview {
    let some = |text: &str| Some(text.to_owned());
    SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: some(&caller.user),
            uid: caller.uid.clone(),
            groups: Some(caller.groups.clone()),
            extra: Some(caller.extra.clone()),
            resource_attributes: Some(ResourceAttributes {
                group: some(GROUP),
                version: some(VERSION),
                namespace: some(target.namespace),
                resource: some(&target.plural),
                name: some(target.name),
                subresource: some(target.subresource),
                verb: some(verb),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    }
}
