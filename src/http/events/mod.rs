//! Server-sent events: one job, or the whole server, as it changes.
//!
//! Nothing waits for a slow reader: it has a place among the changes, and gets what is newest when it reads on. Without
//! readers nothing is made. Deliberately absent: a history of events. Which ids a reader may come back with, and what
//! it gets then, says each stream.

pub(super) mod job;
pub(super) mod server;

use std::convert::Infallible;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::{Stream, StreamExt as _};
use serde::Serialize;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{IntoParams, PartialSchema as _, ToSchema};

use crate::model::JobId;

/// A stream without events has a comment so often, so that what stands between does not take it for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// The header of a reader who comes back.
struct LastEventId;

impl IntoParams for LastEventId {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let header = ParameterBuilder::new().name("Last-Event-ID").parameter_in(ParameterIn::Header);
        let description =
            "The `id` of the last event that was read, where a stream that was cut is to go on.";
        vec![header.description(Some(description)).schema(Some(String::schema())).build()]
    }
}

/// Where a reader was when its last stream was cut.
fn last_event_id(headers: &HeaderMap) -> Option<&str> {
    headers.get("last-event-id")?.to_str().ok().filter(|id| !id.is_empty())
}

fn event(name: &str, id: &str, data: &impl Serialize) -> Event {
    let data = serde_json::to_string(data).expect("a view always serialises");
    Event::default().event(name).id(id).data(data)
}

/// The shape of an event that is one of these, each with its name, what it says, and the shape of its data. `OpenAPI` 3.1 has no
/// word for streams of events; as later versions have it, and tools read this one, it is the shape of each of them.
fn event_of<const N: usize>(kinds: [(&'static str, &'static str, RefOr<Schema>); N]) -> RefOr<Schema> {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let event = |(name, says, data): (&'static str, &str, RefOr<Schema>)| {
        let data = text().content_media_type("application/json").content_schema(Some(data));
        let event = ObjectBuilder::new().property("event", text().enum_values(Some([name])));
        let event = event.property("id", text()).property("data", data).description(Some(says));
        event.required("event").required("id").required("data")
    };
    let all = kinds.into_iter().fold(OneOfBuilder::new(), |all, kind| all.item(event(kind)));
    all.into()
}

/// Data that tells of jobs which are gone.
#[derive(Serialize, ToSchema)]
struct ForgottenBody {
    /// They were deleted.
    ids: Vec<JobId>,
}

/// The answer; where the stream cannot go on, it is cut.
fn respond(events: impl Stream<Item = Event> + Send + 'static) -> Response {
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE).text("nothing new");
    let mut response = Sse::new(events.map(Ok::<_, Infallible>)).keep_alive(keep_alive).into_response();
    // nginx and those who took it over hold answers back otherwise.
    response
        .headers_mut()
        .insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}
