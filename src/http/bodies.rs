//! Bodies with inputs on their way in: a JSON document, or a stream of lines.

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use futures_util::StreamExt as _;

use super::idempotency::KeyedBody;
use super::inputs::{SegmentBuilder, Staging};
use super::kinds::{InputMismatch, UnsupportedMediaType};
use super::{Edge, Problem};
use crate::model::JobId;
use crate::protocol::json::{self, BadJson};
use crate::protocol::{LineSplitter, LineTooLong};
use crate::schema::Schema;

pub(super) enum MediaType {
    Json,
    Ndjson,
}

pub(super) fn media_type(headers: &HeaderMap) -> Result<MediaType, Problem> {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = value.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING).filter(|value| *value != "identity") {
        let detail = format!("the body is encoded as {encoding:?}; send it as it is");
        return Err(unsupported(detail));
    }
    match essence.as_str() {
        "application/json" => Ok(MediaType::Json),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines" => {
            Ok(MediaType::Ndjson)
        }
        _ => Err(unsupported(format!(
            "the content type is {essence:?}; send application/json (curl --json '{{…}}') or \
             application/x-ndjson, one input a line (curl -H 'Content-Type: application/x-ndjson' -T -)"
        ))),
    }
}

/// For a body that is one JSON document, and no stream.
pub(super) fn must_be_json(headers: &HeaderMap) -> Result<(), Problem> {
    match media_type(headers)? {
        MediaType::Json => Ok(()),
        MediaType::Ndjson => {
            Err(unsupported("what is wanted is application/json (curl --json '{…}')".into()))
        }
    }
}

pub(super) fn unsupported(detail: String) -> Problem {
    Problem::new(UnsupportedMediaType, detail)
}

pub(super) async fn read_all(body: Body, limit: usize) -> Result<Bytes, Problem> {
    let mut whole = Vec::new();
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| cut(&error))?;
        if whole.len() + piece.len() > limit {
            return Err(Problem::too_large(format!(
                "a JSON body may have {limit} bytes; send more inputs as application/x-ndjson, which is streamed"
            )));
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.into())
}

pub(super) fn cut(error: &axum::Error) -> Problem {
    Problem::bad_request(format!("the body ended before its end: {error}"))
}

pub(super) async fn read_ndjson(
    edge: &Edge,
    id: JobId,
    function: &str,
    body: Body,
    key: &mut KeyedBody,
) -> Result<(SegmentBuilder, Staging), Problem> {
    let (mut inputs, mut staging) = (SegmentBuilder::default(), Staging::new(edge.clone(), id));
    let (mut lines, mut pieces) = (InputLines::new(edge, function), body.into_data_stream());
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| cut(&error))?;
        key.update(&piece);
        lines.feed(&piece, &mut inputs)?;
        if let Some(surplus) = inputs.take_surplus() {
            staging.stage(surplus).await?;
        }
    }
    lines.finish(&mut inputs)?;
    Ok((inputs, staging))
}

/// Takes the inputs out of the pieces of an NDJSON body.
pub(super) struct InputLines {
    splitter: LineSplitter,
    checks: LineChecks,
}

/// What each line is checked against, and how many there were.
struct LineChecks {
    schema: Option<Schema>,
    lines: usize,
    inputs: u64,
}

impl InputLines {
    pub(super) fn new(edge: &Edge, function: &str) -> Self {
        let checks = LineChecks { schema: input_schema(edge, function), lines: 0, inputs: 0 };
        Self { splitter: LineSplitter::new(edge.limits.max_input_bytes), checks }
    }

    /// Takes the inputs of the lines that end in this piece; those before a line that is none are taken.
    pub(super) fn feed(&mut self, piece: &[u8], inputs: &mut SegmentBuilder) -> Result<(), Problem> {
        let Self { splitter, checks } = self;
        splitter.feed(piece, |line| checks.take(line, inputs)).map_err(BadLine::into_problem)
    }

    /// Takes the input of the last line, if it has no end.
    pub(super) fn finish(&mut self, inputs: &mut SegmentBuilder) -> Result<(), Problem> {
        let last = self.splitter.finish();
        last.map_or(Ok(()), |line| self.checks.take(&line, inputs).map_err(BadLine::into_problem))
    }
}

impl LineChecks {
    /// Blank lines, such as one at the end, are no inputs.
    fn take(&mut self, line: &[u8], inputs: &mut SegmentBuilder) -> Result<(), BadLine> {
        self.lines += 1;
        let line = line.trim_ascii();
        if line.is_empty() {
            return Ok(());
        }
        json::check(line).map_err(|error| BadLine::Json(self.lines, error))?;
        if let Some(schema) = &self.schema {
            fit(schema, self.inputs, line).map_err(BadLine::Unfit)?;
        }
        self.inputs += 1;
        inputs.push(line);
        Ok(())
    }
}

/// Sees that the inputs of a JSON body are what they may be.
pub(super) fn fit_all(edge: &Edge, function: &str, inputs: &SegmentBuilder) -> Result<(), Problem> {
    let max = edge.limits.max_input_bytes;
    if inputs.longest() > max {
        return Err(BadLine::from(LineTooLong { max }).into_problem());
    }
    match input_schema(edge, function) {
        Some(schema) => (0..).zip(inputs.lines()).try_for_each(|(index, line)| fit(&schema, index, line)),
        None => Ok(()),
    }
}

/// The schema of a function's inputs, if it has one.
fn input_schema(edge: &Edge, function: &str) -> Option<Schema> {
    edge.functions().iter().find(|known| known.name == function)?.input_schema.clone()
}

fn fit(schema: &Schema, index: u64, input: &[u8]) -> Result<(), Problem> {
    schema.check(input).map_err(|mismatch| {
        let detail = format!("input {index} does not fit the function's schema: {mismatch}");
        Problem::new(InputMismatch, detail).with("index", index.into()).with("path", mismatch.path.into())
    })
}

enum BadLine {
    TooLong(LineTooLong),
    Json(usize, BadJson),
    Unfit(Problem),
}

impl From<LineTooLong> for BadLine {
    fn from(error: LineTooLong) -> Self {
        Self::TooLong(error)
    }
}

impl BadLine {
    fn into_problem(self) -> Problem {
        match self {
            Self::TooLong(LineTooLong { max }) => {
                Problem::too_large(format!("an input may have {max} bytes"))
            }
            Self::Unfit(problem) => problem,
            Self::Json(line, BadJson::Syntax(error)) => {
                let what = error.to_string();
                let what = what.split(" at line ").next().unwrap_or_default();
                let detail =
                    format!("line {line}, column {}: {what}; each line is one JSON value", error.column());
                Problem::bad_json(detail, line, error.column())
            }
            Self::Json(line, error @ BadJson::TooDeep) => {
                Problem::bad_json(format!("line {line}: {error}"), line, 1)
            }
        }
    }
}
