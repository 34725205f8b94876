//! Spans as OTLP 1.x in JSON: ids are hexadecimal, and 64-bit numbers are strings (OTLP specification, JSON Protobuf Encoding).

use serde_json::{Value, json};

use super::spans::{Attribute, Kind, Span};
use crate::model::Timestamp;

/// Who tells the spans.
pub(super) fn resource(service: &str, node: &str) -> Value {
    let attributes = [
        ("service.name", Attribute::Text(service.to_owned())),
        ("service.version", Attribute::Text(env!("CARGO_PKG_VERSION").to_owned())),
        ("service.instance.id", Attribute::Text(node.to_owned())),
    ];
    json!({"attributes": attributes.iter().map(attribute).collect::<Vec<_>>()})
}

/// The body of one request.
pub(super) fn request(resource: &Value, spans: &[Span]) -> Vec<u8> {
    let scope = json!({"name": "gristmill", "version": env!("CARGO_PKG_VERSION")});
    let spans: Vec<Value> = spans.iter().map(span).collect();
    let body =
        json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": scope, "spans": spans}]}]});
    body.to_string().into_bytes()
}

fn span(span: &Span) -> Value {
    let mut value = json!({
        "traceId": format!("{:032x}", span.trace),
        "spanId": format!("{:016x}", span.id),
        "name": span.name,
        "kind": match span.kind { Kind::Internal => 1, Kind::Consumer => 5 },
        "startTimeUnixNano": unix_ns(span.start),
        "endTimeUnixNano": unix_ns(span.end),
        "attributes": span.attributes.iter().map(attribute).collect::<Vec<_>>(),
    });
    if let Some(parent) = span.parent {
        value["parentSpanId"] = format!("{parent:016x}").into();
    }
    if let Some(why) = &span.error {
        value["status"] = json!({"code": 2, "message": why});
    }
    value
}

fn attribute((key, value): &(&str, Attribute)) -> Value {
    match value {
        Attribute::Text(text) => json!({"key": key, "value": {"stringValue": text}}),
        Attribute::Number(number) => json!({"key": key, "value": {"intValue": number.to_string()}}),
    }
}

fn unix_ns(at: Timestamp) -> String {
    format!("{}000", at.0.max(0))
}
