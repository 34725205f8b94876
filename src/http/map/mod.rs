//! `POST /v1/map/{function}`: inputs go up and results come down at the same time, with a durable job between them.
//!
//! One append to the job is under way at a time, and what arrives meanwhile goes with the next: a trickle is answered
//! line by line, a flood goes in large segments, and no timer decides which it is. The upload waits while its reader
//! is too far behind.

mod upload;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, Uri, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use tokio::sync::{oneshot, watch};
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::AnyOfBuilder;
use utoipa::openapi::{Ref, RefOr, Required, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use super::bodies::{MediaType, media_type, unsupported};
use super::error::ProblemBody;
use super::inputs::{SegmentBuilder, Staging};
use super::kinds::{
    BadJson, BadRequest, CallbackRefused, Problems, QueueFull, UnknownFunction, UnsupportedMediaType,
};
use super::openapi::{InputLines, MAP, lines, query_of};
use super::options::{check, pairs_options, query_pairs};
use super::query::{Named, TraceHeader, trace_parent};
use super::render::Fields;
use super::results::{Cursor, FieldsParam, OrderParam, ResultParams, TaskResult};
use super::submit::{SubmitBody, accept};
use super::{Edge, Problem};
use crate::model::{JobId, JobSpec};
use crate::store::{Intake, JobWatch, Order, Submitted};
use upload::Upload;

const JOB: HeaderName = HeaderName::from_static("gristmill-job");

/// The options of a job but those that make no sense here, and which results go down.
struct MapParams;

impl IntoParams for MapParams {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let path = ParameterBuilder::new().name("function").parameter_in(ParameterIn::Path);
        let path =
            path.required(Required::True).schema(Some(String::schema())).example(Some("sha256".into()));
        let path = path.description(Some("Which function; `GET /v1/functions` lists them.")).build();
        let which = ResultParams::into_params(|| None).into_iter();
        let which = which.filter(|parameter| ["order", "fields"].contains(&parameter.name.as_str()));
        [path].into_iter().chain(which).chain(query_of::<SubmitBody<'_>>(&["function", "open"])).collect()
    }
}

/// A line of a map's answer.
struct MapLine;

impl PartialSchema for MapLine {
    fn schema() -> RefOr<Schema> {
        AnyOfBuilder::new()
            .item(Ref::from_schema_name(TaskResult::name()))
            .item(Ref::from_schema_name(ProblemBody::name()))
            .description(Some(
                "A result; or, as the last line of a body that is cut, what was wrong behind the head of the answer.",
            ))
            .into()
    }
}

impl ToSchema for MapLine {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((TaskResult::name().into_owned(), TaskResult::schema()));
        TaskResult::schemas(schemas);
    }
}

lines! {
    /// What a map answers, line by line.
    MapLines of MapLine
}

/// Map a function over a stream.
///
/// Full duplex: inputs go up, one a line, and results come down while they do. A durable job is behind it, so a cut reader reads on at
/// its results. When something is wrong behind the first line, the last line is the problem and the body is cut.
#[utoipa::path(
    method(post, put), path = "", tag = MAP, operation_id = "map",
    params(MapParams, TraceHeader),
    request_body(content((inline(InputLines) = "application/x-ndjson", example = json!("\"a\"\n\"b\"\n")))),
    responses(
        (status = 200, description = "Results, in the order of the inputs unless asked otherwise, or with `fields=output` bare outputs.",
            content((inline(MapLines) = "application/x-ndjson")),
            headers(("Location" = String, description = "The job's path."), ("Gristmill-Job" = String, description = "Its id."))),
        Problems<(BadRequest, BadJson, UnknownFunction, UnsupportedMediaType, CallbackRefused, QueueFull)>
    )
)]
pub(super) async fn map(
    State(edge): State<Edge>,
    Named(function): Named,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    if *edge.draining.borrow() {
        return Err(Problem::shutting_down());
    }
    must_be_lines(&headers)?;
    let (mut spec, order, fields) = read_query(&edge, function, uri.query().unwrap_or(""))?;
    spec.options.trace = trace_parent(&headers);
    let id = JobId(uuid::Uuid::now_v7());
    let (read, progress) = watch::channel(0);
    let mut upload = Upload::new(edge.clone(), id, &spec.function, body, progress);
    // A client that asked for leave to send gets it before the head of the answer.
    upload.invite().await;
    let (accept, accepted) = oneshot::channel();
    let (end, ended) = oneshot::channel();
    let accepting = edge.clone();
    // In a task of its own, so that the job is closed whenever the client goes away. One that has does not want to know.
    tokio::spawn(async move {
        let outcome = begin_job(&accepting, id, spec).await;
        let is_there = outcome.is_ok();
        drop(accept.send(outcome));
        if is_there {
            drop(end.send(upload.run().await));
        }
    });
    accepted.await.unwrap_or_else(|_| Err(Problem::shutting_down()))?;
    let watch = edge.store.watch(id);
    let cursor = Cursor::new(edge, id, order, fields, 0, u64::MAX);
    let answer = Answer { cursor, watch, read, ended };
    let location = format!("/v1/jobs/{id}");
    let head = [
        (header::CONTENT_TYPE, "application/x-ndjson".into()),
        (header::LOCATION, location),
        (JOB, id.to_string()),
    ];
    Ok((head, answer.stream()).into_response())
}

/// Has the job accepted, without inputs and open.
async fn begin_job(edge: &Edge, id: JobId, spec: JobSpec) -> Result<(), Problem> {
    let staging = Staging::new(edge.clone(), id);
    match accept(edge, id, (spec, Intake::Streamed), SegmentBuilder::default(), staging, None, false).await? {
        Submitted::QueueFull(queued) => Err(Problem::queue_full(&queued, &edge.limits)),
        Submitted::New(_)
        | Submitted::Ended(..)
        | Submitted::Same(_)
        | Submitted::Gone(_)
        | Submitted::Other => Ok(()),
    }
}

/// A body without a content type is taken for NDJSON, as `curl -T -` sends none.
fn must_be_lines(headers: &HeaderMap) -> Result<(), Problem> {
    if headers.contains_key("idempotency-key") {
        let detail = "a map has no Idempotency-Key: a reader that was cut off goes on at its job's results with after=";
        return Err(Problem::bad_request(detail));
    }
    let says_what =
        headers.contains_key(header::CONTENT_TYPE) || headers.contains_key(header::CONTENT_ENCODING);
    match if says_what { media_type(headers)? } else { MediaType::Ndjson } {
        MediaType::Ndjson => Ok(()),
        MediaType::Json => {
            let detail =
                "the content type is application/json; a map takes application/x-ndjson, one input a line";
            Err(unsupported(detail.into()))
        }
    }
}

fn read_query(edge: &Edge, function: String, query: &str) -> Result<(JobSpec, Order, Fields), Problem> {
    let (mut order, mut fields, mut rest) = (OrderParam::Input, FieldsParam::All, Vec::new());
    for (key, value) in query_pairs(query)? {
        let wrong = |want| Problem::bad_request(format!("{key} is {value:?} in the query; it can be {want}"));
        match (key.as_str(), value.as_str()) {
            ("order", "input") => order = OrderParam::Input,
            ("order", "completion") => order = OrderParam::Completion,
            ("order", _) => return Err(wrong("input or completion")),
            ("fields", "all") => fields = FieldsParam::All,
            ("fields", "output") => fields = FieldsParam::Output,
            ("fields", _) => return Err(wrong("all or output")),
            ("function", _) => return Err(wrong("left out: the path names the function")),
            ("open", _) => return Err(wrong("left out: the job is open as long as inputs come")),
            _ => rest.push((key, value)),
        }
    }
    let mut options = pairs_options(rest)?;
    options.function = Some(function.into());
    Ok((check(edge, options)?, order.into(), fields.into()))
}

/// What goes down: the results, and how the upload ended if not well.
struct Answer {
    cursor: Cursor,
    watch: JobWatch,
    /// Tells the upload how far the reader is; its end, that the reader has gone.
    read: watch::Sender<u64>,
    ended: oneshot::Receiver<Result<(), Problem>>,
}

/// What is left to be said.
enum Rest {
    Results(Box<Answer>),
    Cut,
}

impl Answer {
    fn stream(self) -> Body {
        Body::from_stream(stream::unfold(Some(Rest::Results(Box::new(self))), |rest| async {
            match rest? {
                Rest::Results(answer) => answer.next().await,
                Rest::Cut => {
                    // The connection sends what it has before it asks again.
                    tokio::task::yield_now().await;
                    Some((Err(cut()), None))
                }
            }
        }))
    }

    async fn next(mut self: Box<Self>) -> Option<(Result<Bytes, std::io::Error>, Option<Rest>)> {
        match self.cursor.next_or_end(Some(&mut self.watch)).await {
            Ok(Some(lines)) => {
                self.read.send_replace(self.cursor.given());
                Some((Ok(lines.into()), Some(Rest::Results(self))))
            }
            Ok(None) => {
                // Where someone else has ended the job, the upload is not to wait for more.
                let Self { read, ended, .. } = *self;
                drop(read);
                match ended.await {
                    Ok(Ok(())) => None,
                    // The head is gone already: the last line says what is wrong, and the cut that it does.
                    Ok(Err(problem)) => Some((Ok(line(&problem)), Some(Rest::Cut))),
                    Err(_) => Some((Err(cut()), None)),
                }
            }
            Err(problem) => Some((Ok(line(&problem)), Some(Rest::Cut))),
        }
    }
}

fn line(problem: &Problem) -> Bytes {
    let mut line = serde_json::to_vec(problem).expect("a problem always serialises");
    line.push(b'\n');
    line.into()
}

fn cut() -> std::io::Error {
    std::io::Error::other("the map has not come to its end")
}
