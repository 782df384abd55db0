//! Streamed answers: lines, server-sent events, bytes.

use std::marker::PhantomData;

use aide::{
    generate::GenContext,
    openapi::{Operation, Response as Documented, StatusCode as Status},
    operation::OperationOutput,
};
use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use schemars::{JsonSchema, Schema, json_schema};

use crate::described;

/// The kind of a streamed answer.
pub(crate) trait Media {
    /// Its media type.
    const TYPE: &'static str;

    /// The schema of each piece, from that of what it carries.
    fn piece(carried: Schema) -> Schema {
        carried
    }
}

/// One JSON object per line.
pub(crate) enum Lines {}
/// Server-sent events.
pub(crate) enum Events {}
/// The output of a guest: any bytes.
pub(crate) enum Console {}

impl Media for Lines {
    const TYPE: &'static str = "application/x-ndjson";
}

impl Media for Events {
    const TYPE: &'static str = "text/event-stream";

    fn piece(carried: Schema) -> Schema {
        json_schema!({
            "type": "object",
            "properties": {
                "id": {"type": "string", "description": "The event's offset in the journal"},
                "event": {"type": "string", "description": "The event's type"},
                "data": {
                    "type": "string",
                    "contentMediaType": "application/json",
                    "contentSchema": carried,
                },
            },
        })
    }
}

impl Media for Console {
    const TYPE: &'static str = "application/octet-stream";
}

/// A streamed answer; each piece is a `T`.
pub(crate) struct Streamed<M, T> {
    body: Body,
    item: PhantomData<fn() -> (M, T)>,
}

impl<M, T> Streamed<M, T> {
    pub(crate) fn of(body: Body) -> Self {
        let item = PhantomData;
        Self { body, item }
    }
}

impl<M: Media, T> IntoResponse for Streamed<M, T> {
    fn into_response(self) -> Response {
        let head = [(CONTENT_TYPE, M::TYPE), (CACHE_CONTROL, "no-store")];
        (head, self.body).into_response()
    }
}

impl<M: Media, T: JsonSchema> OperationOutput for Streamed<M, T> {
    type Inner = T;

    fn operation_response(ctx: &mut GenContext, _: &mut Operation) -> Option<Documented> {
        let description = "What comes bit by bit: each line or event is of this schema";
        let piece = M::piece(ctx.schema.subschema_for::<T>());
        Some(described::answer(piece, M::TYPE, description))
    }

    fn inferred_responses(
        ctx: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<Status>, Documented)> {
        described::only::<Self>(ctx, operation, Some(200))
    }
}
