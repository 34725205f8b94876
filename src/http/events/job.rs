//! `GET /v1/jobs/{id}/events`: a job until its end.
//!
//! A reader who comes back gets the job as it is then; one who has seen its end, only that.

use std::collections::VecDeque;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::response::sse::Event;
use futures_util::stream;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::{ForgottenBody, LastEventId, event, event_of, last_event_id, respond};
use crate::http::jobs::view_in;
use crate::http::kinds::{Problems, UnknownJob};
use crate::http::openapi::EVENTS;
use crate::http::query::{self, Named};
use crate::http::views::JobBody;
use crate::http::{Edge, Problem};
use crate::model::{Job, JobId, JobState, WorkerName};
use crate::store::{JobWatch, StoreResult};
use crate::supervisor::{PoolView, StartFailure};

/// Changes within this time are told together.
const EVERY: Duration = Duration::from_millis(250);

/// What a follower of a job is told.
struct JobEvent;

impl PartialSchema for JobEvent {
    fn schema() -> RefOr<Schema> {
        event_of([
            ("job", "The job, as it is now.", Ref::from_schema_name(JobBody::name()).into()),
            ("forgotten", "It was deleted; `end` follows.", ForgottenBody::schema()),
            (
                "end",
                "It has ended, and so does the stream; the state is `null` if it was deleted.",
                EndBody::schema(),
            ),
        ])
    }
}

impl ToSchema for JobEvent {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        JobBody::schemas(schemas);
        EndBody::schemas(schemas);
        ForgottenBody::schemas(schemas);
    }
}

/// Data of the last event.
#[derive(Serialize, ToSchema)]
struct EndBody {
    /// `null` if the job was deleted.
    #[schema(required)]
    state: Option<JobState>,
}

/// Follow a job.
///
/// Server-sent events until it has ended: `job` (its data is a `Job`) at once, at most some four times a second when its state, counts,
/// workers or running tasks have changed, and when it has ended; then `end` (`{"state": "succeeded"}`). If it is deleted, `forgotten`
/// (`{"ids": […]}`), and `end` with the state `null`. A stream that ends without `end` was cut.
#[utoipa::path(
    get, path = "", tag = EVENTS, operation_id = "followJob",
    params(JobId, LastEventId),
    responses(
        (status = 200, description = "Events.", body = JobEvent, content_type = "text/event-stream",
            example = "event: end\nid: succeeded-1767323045678901\ndata: {\"state\":\"succeeded\"}\n\n"),
        Problems<(UnknownJob,)>
    )
)]
pub(in crate::http) async fn job_events(
    State(edge): State<Edge>,
    Named(name): Named,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = query::job_id(&name)?;
    let (watch, pool, due) = (edge.store.watch(id), edge.supervisor.follow_view(), Instant::now());
    let job = edge.store.job(id).await?.ok_or_else(|| Problem::unknown_job(&name))?;
    let over = job.state.is_final() && last_event_id(&headers) == Some(&event_id(&job));
    let ready = over.then(|| end(&job)).into_iter().collect();
    let follower = Follower { edge, id, watch, pool, due, told: None, ready, over };
    Ok(respond(stream::unfold(follower, |mut follower| async {
        let event = follower.next().await?;
        Some((event, follower))
    })))
}

/// Names a state of the job, so that its end is known again, after a restart too.
fn event_id(job: &Job) -> String {
    let at = job.finished_at.map_or(job.tally.done() as i64, |at| at.0);
    format!("{}-{at}", job.state)
}

fn end(job: &Job) -> Event {
    event("end", &event_id(job), &EndBody { state: Some(job.state) })
}

struct Follower {
    edge: Edge,
    id: JobId,
    watch: JobWatch,
    pool: watch::Receiver<()>,
    /// When the next event may be sent.
    due: Instant,
    told: Option<Told>,
    ready: VecDeque<Event>,
    /// Whether nothing comes behind what is ready.
    over: bool,
}

/// What makes an event differ from the one before it, which times do not.
#[derive(PartialEq)]
struct Told {
    job: Job,
    running: Vec<Running>,
    start_failure: Option<StartFailure>,
}

/// Worker, index, attempt, and how far it says that it is.
type Running = (WorkerName, u64, u32, Option<(f64, Option<f64>)>);

impl Told {
    fn of(job: &Job, pool: &PoolView) -> Self {
        let running = pool.running(job.id);
        let running = running.map(|(worker, task)| (worker.name, task.index, task.attempt, task.progress));
        let mut failures = pool.start_failures.iter();
        let start_failure = failures.find(|failure| failure.function == job.spec.function).cloned();
        let start_failure = start_failure.map(|failure| StartFailure { next_in: None, ..failure });
        Self { job: job.clone(), running: running.collect(), start_failure }
    }
}

impl Follower {
    /// The next event; `None` at the end, also when the server shuts down or the store has stopped.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.over {
                return None;
            }
            self.look().await.ok()?;
            if self.ready.is_empty() {
                self.wait().await?;
            }
        }
    }

    /// Tells how the job is, if that is new.
    async fn look(&mut self) -> StoreResult<()> {
        let Some(job) = self.edge.store.job(self.id).await? else {
            self.ready.push_back(event("forgotten", "gone", &ForgottenBody { ids: vec![self.id] }));
            self.ready.push_back(event("end", "gone", &EndBody { state: None }));
            self.over = true;
            return Ok(());
        };
        let pool = self.edge.supervisor.view().await.unwrap_or_default();
        let told = Told::of(&job, &pool);
        if self.told.as_ref() == Some(&told) {
            return Ok(());
        }
        let body = view_in(&self.edge, &job, &pool).await?;
        self.ready.push_back(event("job", &event_id(&job), &body));
        self.over = job.state.is_final();
        self.ready.extend(self.over.then(|| end(&job)));
        (self.told, self.due) = (Some(told), Instant::now() + EVERY);
        Ok(())
    }

    /// Waits for a change and until it may be told; `None` when the server shuts down.
    async fn wait(&mut self) -> Option<()> {
        let changed = async {
            tokio::select! {
                () = self.watch.changed() => {}
                // The supervisor that has ended tells nothing more; the store does.
                Ok(()) = self.pool.changed() => {}
                else => {}
            }
            sleep_until(self.due).await;
        };
        tokio::select! {
            () = changed => Some(()),
            () = self.edge.shuts_down() => None,
        }
    }
}
