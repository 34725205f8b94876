//! The shapes of what is no view: ids and words of the model, lines, durations, and the options in a query.

use std::borrow::Cow;

use serde_json::{Value, json};
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, ObjectBuilder, OneOfBuilder, SchemaFormat, SchemaType, Type,
};
use utoipa::openapi::{RefOr, Required, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use super::super::inputs::InputArray;
use super::super::options::{LockParam, MOST_TIME, Time};
use super::EXAMPLE_JOB;
use crate::model::limits::{MAX_LABELS, MAX_NAME_CHARS};
use crate::model::{JobId, JobState, Lock, OnError, Verdict};

/// Durations as text that are surely taken, though others are too: `$first` is how the whole number begins.
macro_rules! duration_pattern {
    ($first:literal) => {
        concat!(
            "^(",
            $first,
            "(ms|s|m|h|d)?|",
            $first,
            "(h[0-9]{1,2}m|m[0-9]{1,2}s)|[0-9]{1,9}\\.[0-9]{0,2}[1-9]s?)$"
        )
    };
}
pub(super) const DURATION: &str = duration_pattern!("[0-9]{1,5}");
const LONGER_THAN_ZERO: &str = duration_pattern!("[1-9][0-9]{0,3}");

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn words(words: impl IntoIterator<Item = &'static str>, description: &str) -> RefOr<Schema> {
    text().enum_values(Some(words)).description(Some(description)).into()
}

impl PartialSchema for JobId {
    fn schema() -> RefOr<Schema> {
        let format = SchemaFormat::Custom("uuid".into());
        let description = "A job's id: a UUID of version 7, so ids sort by the time of the submit.";
        text().format(Some(format)).description(Some(description)).examples([EXAMPLE_JOB]).into()
    }
}

impl ToSchema for JobId {}

/// The job in the path.
impl IntoParams for JobId {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let id = ParameterBuilder::new().name("id").parameter_in(ParameterIn::Path).required(Required::True);
        vec![id.description(Some("The job's id.")).schema(Some(Self::schema())).build()]
    }
}

impl PartialSchema for JobState {
    fn schema() -> RefOr<Schema> {
        let description = "Where a job stands: `queued`, `running`, `paused` or `cancelling`; at the end `succeeded`, `failed` (some \
                           task failed) or `cancelled`.";
        words(Self::ALL.map(Self::as_str), description)
    }
}

impl ToSchema for JobState {}

impl PartialSchema for OnError {
    fn schema() -> RefOr<Schema> {
        words(["continue", "stop"], "What a failed task does to the rest: nothing, or it cancels them.")
    }
}

impl ToSchema for OnError {}

impl PartialSchema for Verdict {
    fn schema() -> RefOr<Schema> {
        // An attempt that was interrupted, or went well, is no task's error.
        let words =
            [Self::Exception, Self::Crash, Self::Timeout, Self::Oom, Self::Hang, Self::OutputTooLarge];
        let words = words.into_iter().chain([Self::BadOutput, Self::Cancelled]);
        self::words(words.map(Self::as_str), "How an attempt ended.")
    }
}

impl ToSchema for Verdict {}

impl PartialSchema for Lock {
    fn schema() -> RefOr<Schema> {
        lock().into()
    }
}

impl ToSchema for Lock {}

impl PartialSchema for LockParam {
    fn schema() -> RefOr<Schema> {
        let name = text().min_length(Some(1)).max_length(Some(MAX_NAME_CHARS));
        OneOfBuilder::new()
            .item(name.description(Some("Its name, for one permit.")))
            .item(lock().additional_properties(Some(AdditionalProperties::FreeForm(false))))
            .into()
    }
}

impl ToSchema for LockParam {
    fn name() -> Cow<'static, str> {
        "LockOrName".into()
    }
}

fn lock() -> ObjectBuilder {
    let name = text().min_length(Some(1)).max_length(Some(MAX_NAME_CHARS));
    let permits = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).maximum(Some(u32::MAX));
    let permits = permits.description(Some("How many tasks may hold it at once."));
    ObjectBuilder::new()
        .description(Some("A named lock: only so many tasks of all the jobs that name it run at once."))
        .property("name", name)
        .property("permits", permits)
        .required("name")
        .required("permits")
        .examples([json!({"name": "disk", "permits": 2})])
}

impl PartialSchema for Time {
    fn schema() -> RefOr<Schema> {
        let number = ObjectBuilder::new()
            .schema_type(Type::Number)
            .minimum(Some(0))
            .maximum(Some(MOST_TIME.as_secs_f64()));
        duration(DURATION, number).into()
    }
}

impl ToSchema for Time {
    fn name() -> Cow<'static, str> {
        "Duration".into()
    }
}

/// A time to wait, in a query.
pub(in super::super) struct WaitTime;

impl PartialSchema for WaitTime {
    fn schema() -> RefOr<Schema> {
        text().pattern(Some(DURATION)).examples(["30s"]).into()
    }
}

impl ToSchema for WaitTime {}

/// The time limit of a task.
pub(in super::super) fn timeout() -> RefOr<Schema> {
    let number = ObjectBuilder::new().schema_type(Type::Number).minimum(Some(0.001));
    let description =
        "The hard limit of one task's run, a millisecond at least. Default: none, or as its function says.";
    let null = ObjectBuilder::new().schema_type(Type::Null);
    duration(LONGER_THAN_ZERO, number.maximum(Some(MOST_TIME.as_secs_f64())))
        .item(null)
        .description(Some(description))
        .into()
}

fn duration(pattern: &str, seconds: ObjectBuilder) -> OneOfBuilder {
    let text = text().pattern(Some(pattern)).description(Some("As `500ms`, `30s` or `1m30s`."));
    let seconds = seconds.description(Some("Seconds."));
    OneOfBuilder::new().item(text).item(seconds).examples([json!("30s"), json!("1m30s"), json!(2.5)])
}

impl PartialSchema for InputArray {
    fn schema() -> RefOr<Schema> {
        let any = ObjectBuilder::new().schema_type(SchemaType::AnyValue);
        ArrayBuilder::new().items(any).into()
    }
}

impl ToSchema for InputArray {}

/// The labels of a job.
pub(in super::super) fn labels() -> RefOr<Schema> {
    let key = text().max_length(Some(MAX_NAME_CHARS)).pattern(Some("^[^=]*$"));
    ObjectBuilder::new()
        .property_names(Some(key))
        .additional_properties(Some(text().max_length(Some(MAX_NAME_CHARS))))
        .max_properties(Some(MAX_LABELS))
        .description(Some("Labels to find the job by, 64 at most; a key has no `=`."))
        .examples([json!({"team": "x"})])
        .into()
}

/// A text with a JSON value of this shape in each line.
pub(in super::super) fn lines_of(line: impl Into<RefOr<Schema>>) -> RefOr<Schema> {
    text()
        .description(Some("One JSON value a line."))
        .content_media_type("application/x-ndjson")
        .content_schema(Some(ArrayBuilder::new().items(line.into())))
        .into()
}

/// Inputs, one a line.
pub(in super::super) struct InputLines;

impl PartialSchema for InputLines {
    fn schema() -> RefOr<Schema> {
        lines_of(Value::schema())
    }
}

impl ToSchema for InputLines {}

/// Declares a text with a view in each line.
macro_rules! lines {
    ($(#[$doc:meta])* $lines:ident of $line:ty) => {
        $(#[$doc])*
        pub(super) struct $lines;

        impl utoipa::PartialSchema for $lines {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                let line = utoipa::openapi::Ref::from_schema_name(<$line as utoipa::ToSchema>::name());
                super::openapi::lines_of(line)
            }
        }

        impl utoipa::ToSchema for $lines {
            fn schemas(schemas: &mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::Schema>)>) {
                let name = <$line as utoipa::ToSchema>::name().into_owned();
                schemas.push((name, <$line as utoipa::PartialSchema>::schema()));
                <$line as utoipa::ToSchema>::schemas(schemas);
            }
        }
    };
}
pub(in super::super) use lines;

/// The options of a job as a query gives them: what the body's type says of each, but `left_out`. None is required, as
/// with a JSON body there is no query.
pub(in super::super) fn query_of<T: ToSchema>(left_out: &[&str]) -> Vec<Parameter> {
    let RefOr::T(Schema::Object(body)) = T::schema() else { return Vec::new() };
    let mut query = Vec::new();
    for (name, schema) in body.properties {
        let (name, schema) = match name.as_str() {
            "inputs" => continue,
            "labels" => ("label".to_owned(), query_labels()),
            "lock" => (name, query_lock()),
            _ => (name, schema),
        };
        if left_out.contains(&name.as_str()) {
            continue;
        }
        let (description, schema) = for_query(schema);
        let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Query);
        let parameter = parameter.required(Required::False);
        query.push(parameter.description(description).schema(Some(schema)).build());
    }
    query
}

/// A member's description, and its schema without that and without what no query can say: `null`, and a number where a
/// text will do.
fn for_query(mut schema: RefOr<Schema>) -> (Option<String>, RefOr<Schema>) {
    let is_text = |item: &RefOr<Schema>| match item {
        RefOr::T(Schema::Object(object)) => object.schema_type == Type::String.into(),
        RefOr::T(Schema::OneOf(_)) => true,
        _ => false,
    };
    let description = match &mut schema {
        RefOr::T(Schema::Object(object)) => {
            if let SchemaType::Array(types) = &mut object.schema_type {
                types.retain(|of| *of != Type::Null);
                object.schema_type = types.first().cloned().unwrap_or_default().into();
            }
            object.description.take()
        }
        RefOr::T(Schema::OneOf(choice)) => {
            choice.items.retain(is_text);
            let description = choice.description.take();
            if let [only] = choice.items.as_slice() {
                return (description, for_query(only.clone()).1);
            }
            description
        }
        RefOr::T(Schema::Array(array)) => array.description.take(),
        _ => None,
    };
    (description, schema)
}

fn query_labels() -> RefOr<Schema> {
    let label = text().pattern(Some("^[^=]{0,256}=.{0,256}$")).examples(["team=x"]);
    let description = "A label to find the job by, as `key=value`; may be given more than once.";
    let labels = ArrayBuilder::new().items(label).max_items(Some(MAX_LABELS));
    labels.description(Some(description)).into()
}

/// The pattern is of objects that are surely taken, though others are too.
fn query_lock() -> RefOr<Schema> {
    let description = "A named lock: never two tasks at once of all the jobs that name it; or `{\"name\": \"disk\", \"permits\": 2}`, for two.";
    let name = text().min_length(Some(1)).max_length(Some(MAX_NAME_CHARS)).pattern(Some("^[^{]"));
    let object =
        text().pattern(Some(r#"^\{"name": ?"[0-9A-Za-z_-]{1,256}", ?"permits": ?[1-9][0-9]{0,8}\}$"#));
    OneOfBuilder::new()
        .item(name.description(Some("Its name, for one permit; it does not begin with a brace.")))
        .item(object.description(Some("An object, as in a JSON body.")))
        .examples([json!("disk"), json!(r#"{"name": "disk", "permits": 2}"#)])
        .description(Some(description))
        .into()
}
