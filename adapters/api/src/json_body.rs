//! Bodies of requests in JSON. What cannot be read is answered as every problem is, so that the description names no
//! other answers.

use std::{fmt, marker::PhantomData};

use aide::{
    generate::GenContext,
    openapi::{Operation, ReferenceOr},
    operation::OperationInput,
};
use axum::{
    Json,
    extract::{FromRequest, OptionalFromRequest, Request, rejection::JsonRejection},
};
use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, MapAccess, Visitor, value::MapAccessDeserializer},
};

/// A body that a request must have.
pub(crate) struct JsonBody<T>(pub(crate) T);

/// A body that a request may leave out: then it is the default one.
pub(crate) struct OptionalJsonBody<T>(pub(crate) T);

/// What is read of an object with names alone: serde's structures also take an array of their values.
struct JsonObject<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for JsonObject<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(JsonObjectVisitor(PhantomData))
    }
}

struct JsonObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for JsonObjectVisitor<T> {
    type Value = JsonObject<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<JsonObject<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(JsonObject)
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = JsonRejection;

    async fn from_request(request: Request, state: &S) -> Result<Self, JsonRejection> {
        let Json(body) =
            <Json<JsonObject<T>> as FromRequest<S>>::from_request(request, state).await?;
        Ok(Self(body.0))
    }
}

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionalJsonBody<T> {
    type Rejection = JsonRejection;

    async fn from_request(request: Request, state: &S) -> Result<Self, JsonRejection> {
        let body = <Json<JsonObject<T>> as OptionalFromRequest<S>>::from_request(request, state);
        let body = body.await?.map(|Json(body)| body.0);
        Ok(Self(body.unwrap_or_default()))
    }
}

impl<T: JsonSchema> OperationInput for JsonBody<T> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        Json::<T>::operation_input(ctx, operation);
    }
}

impl<T: JsonSchema> OperationInput for OptionalJsonBody<T> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        Json::<T>::operation_input(ctx, operation);
        if let Some(ReferenceOr::Item(body)) = &mut operation.request_body {
            body.required = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Request {
        reason: String,
    }

    #[test]
    fn only_an_object_is_read() {
        let read = |text: &str| serde_json::from_str::<JsonObject<Request>>(text);
        assert_eq!(read(r#"{"reason": "why"}"#).unwrap().0.reason, "why");
        for text in ["[]", r#"["why"]"#, "null", "\"why\"", "1"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
