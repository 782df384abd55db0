//! Encodes spans in OTLP's protobuf.

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    resource::v1::Resource,
    trace::v1::{self as otlp, ResourceSpans, ScopeSpans, span::SpanKind, status::StatusCode},
};
use prost::Message as _;

use crate::spans::{AttributeValue, Span, Status};

/// The service name of all spans.
const SERVICE: &str = "vsiflow";

/// A request with these spans. `instance` names the journal that they are from.
pub(crate) fn request(spans: &[Span], instance: &str) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let resource = [
        ("service.name", SERVICE),
        ("service.version", version),
        ("service.instance.id", instance),
    ];
    let attributes =
        resource.map(|(key, text)| attribute(key, &AttributeValue::Text(text.to_owned())));
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: attributes.to_vec(),
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(InstrumentationScope {
                    name: SERVICE.to_owned(),
                    version: version.to_owned(),
                    ..InstrumentationScope::default()
                }),
                spans: spans.iter().map(span).collect(),
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    };
    request.encode_to_vec()
}

fn span(span: &Span) -> otlp::Span {
    let nanos = |millis: u64| millis.saturating_mul(1_000_000);
    let attributes = span.attributes.iter();
    otlp::Span {
        trace_id: span.trace.to_vec(),
        span_id: span.id.to_vec(),
        parent_span_id: span.parent.map(|id| id.to_vec()).unwrap_or_default(),
        name: span.name.clone(),
        kind: SpanKind::Internal.into(),
        start_time_unix_nano: nanos(span.began),
        end_time_unix_nano: nanos(span.ended),
        attributes: attributes
            .map(|(key, value)| attribute(key, value))
            .collect(),
        status: Some(status(&span.status)),
        ..otlp::Span::default()
    }
}

fn status(status: &Status) -> otlp::Status {
    let (code, message) = match status {
        Status::Ok => (StatusCode::Ok, String::new()),
        Status::Unset => (StatusCode::Unset, String::new()),
        Status::Error(why) => (StatusCode::Error, why.clone()),
    };
    otlp::Status {
        code: code.into(),
        message,
    }
}

fn attribute(key: &str, value: &AttributeValue) -> KeyValue {
    let value = match value {
        AttributeValue::Text(text) => any_value::Value::StringValue(text.clone()),
        AttributeValue::Number(number) => any_value::Value::IntValue(*number),
    };
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}
