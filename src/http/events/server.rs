//! `GET /v1/events`: the pool, the jobs that change, and the tasks that end.
//!
//! An event's id is the reader's place among the changes of jobs in this epoch. One who comes back gets the jobs that
//! have changed since; or, where that is not known, `reset`. The pool comes as it is then, and tasks from then on.

use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::response::sse::Event;
use futures_util::stream;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::{ForgottenBody, LastEventId, event, event_of, last_event_id, respond};
use crate::http::Edge;
use crate::http::openapi::EVENTS;
use crate::http::views::{JobBody, PoolBody, brief_view, ms, pool_view};
use crate::model::JobId;
use crate::store::{ChangeWatch, Changed, StoreResult};
use crate::supervisor::{EndedTasks, WorkerActivity};

/// Changes of the pool within this time are told together …
const POOL_EVERY: Duration = Duration::from_millis(200);
/// … and what its workers use changes so often, while any is busy.
const BUSY_EVERY: Duration = Duration::from_secs(1);
const JOBS_EVERY: Duration = Duration::from_millis(250);
const TASKS_EVERY: Duration = Duration::from_millis(200);
/// An event that has so many jobs, or bytes of them, is full; the others wait for the next one.
const MOST_JOBS: usize = 250;
const MOST_JOBS_BYTES: usize = 1 << 18;
/// So many are looked up at a time.
const JOBS_AT_ONCE: usize = 25;
/// An event has so many chunks at most, the newest.
const MOST_CHUNKS: usize = 200;

/// What a follower of the server is told.
struct ServerEvent;

impl PartialSchema for ServerEvent {
    fn schema() -> RefOr<Schema> {
        event_of([
            ("pool", "The pool, as it is now.", Ref::from_schema_name(PoolBody::name()).into()),
            ("jobs", "Jobs that were submitted or have changed.", JobsBody::schema()),
            ("forgotten", "Jobs that were deleted.", ForgottenBody::schema()),
            ("tasks", "Tasks whose outcomes have become durable.", TasksBody::schema()),
            ("reset", "More has changed than is known: read the list of jobs again.", ResetBody::schema()),
        ])
    }
}

impl ToSchema for ServerEvent {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        PoolBody::schemas(schemas);
        JobsBody::schemas(schemas);
        ForgottenBody::schemas(schemas);
        TasksBody::schemas(schemas);
    }
}

/// Follow the server.
///
/// Server-sent events: `pool` (its data is a `Pool`), `jobs` (`{"items": [Job, …]}`, those that have changed, as in a list), `forgotten`
/// (`{"ids": […]}`, those that were deleted), `tasks` (chunks of tasks whose outcomes have become durable: `{"items": [{"worker", "pid", "job",
/// "function", "index", "count", "started_ms", "duration_ms", "failed"}, …], "dropped": 0}`, times in milliseconds), and `reset` (`{}`: more
/// has changed than is known, so read the list of jobs again). Each comes some five times a second at most, with the newest state.
#[utoipa::path(
    get, path = "", tag = EVENTS, operation_id = "followServer",
    params(LastEventId),
    responses(
        (status = 200, description = "Events.", body = ServerEvent, content_type = "text/event-stream",
            example = "event: forgotten\nid: 3-17\ndata: {\"ids\":[\"0190b5f7-7c4d-7abc-8def-0123456789ab\"]}\n\n")
    )
)]
pub(in crate::http) async fn server_events(State(edge): State<Edge>, headers: HeaderMap) -> Response {
    let epoch = edge.store.epoch().0;
    let place = last_event_id(&headers).map(|id| place(id, epoch));
    // A place in another epoch is one that there never was.
    let jobs = edge.store.watch_all(place.map(|place| place.unwrap_or(u64::MAX)));
    let (pool, tasks) = (edge.supervisor.follow_view(), edge.supervisor.follow_tasks());
    let follower = Follower {
        edge,
        epoch,
        pool,
        pool_pace: Pace { waits: true, at: Instant::now() },
        measure_at: None,
        jobs,
        jobs_pace: Pace { waits: place.is_some(), at: Instant::now() },
        tasks,
        tasks_pace: Pace { waits: false, at: Instant::now() },
        ended: Vec::new(),
        lost: 0,
        ready: VecDeque::new(),
    };
    respond(stream::unfold(follower, |mut follower| async {
        let event = follower.next().await?;
        Some((event, follower))
    }))
}

/// The place that an id of this epoch names.
fn place(id: &str, epoch: u64) -> Option<u64> {
    let (of, at) = id.split_once('-')?;
    at.parse().ok().filter(|_| of.parse() == Ok(epoch))
}

/// How often something is told.
struct Pace {
    /// Whether there is something to tell.
    waits: bool,
    /// When it may be told.
    at: Instant,
}

impl Pace {
    async fn reached(&self) {
        until(self.waits.then_some(self.at)).await;
    }

    fn told(&mut self, every: Duration) {
        *self = Self { waits: false, at: Instant::now() + every };
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

struct Follower {
    edge: Edge,
    epoch: u64,
    pool: watch::Receiver<()>,
    pool_pace: Pace,
    /// When the pool is told though nothing has changed but what its workers use.
    measure_at: Option<Instant>,
    jobs: ChangeWatch,
    jobs_pace: Pace,
    tasks: Receiver<Arc<EndedTasks>>,
    tasks_pace: Pace,
    /// What has been taken from `tasks`, and how many chunks were lost there.
    ended: Vec<Arc<EndedTasks>>,
    lost: u64,
    ready: VecDeque<Event>,
}

#[derive(Clone, Copy)]
enum Due {
    Pool,
    Jobs,
    Tasks,
}

impl Follower {
    /// The next event; `None` when the server shuts down or the store has stopped.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            match self.due().await? {
                Due::Pool => self.tell_pool().await?,
                Due::Jobs => self.tell_jobs().await.ok()?,
                Due::Tasks => self.tell_tasks(),
            }
        }
    }

    /// Waits until something is to be told.
    async fn due(&mut self) -> Option<Due> {
        let Self { edge, pool, pool_pace, measure_at, jobs, jobs_pace, tasks, tasks_pace, .. } = self;
        loop {
            tokio::select! {
                () = pool_pace.reached() => return Some(Due::Pool),
                () = until(*measure_at) => return Some(Due::Pool),
                () = jobs_pace.reached() => return Some(Due::Jobs),
                () = tasks_pace.reached() => return Some(Due::Tasks),
                Ok(()) = pool.changed(), if !pool_pace.waits => pool_pace.waits = true,
                () = jobs.changed(), if !jobs_pace.waits => jobs_pace.waits = true,
                first = tasks.recv(), if !tasks_pace.waits => {
                    tasks_pace.waits = true;
                    match first {
                        Ok(first) => self.ended.push(first),
                        Err(RecvError::Lagged(lost)) => self.lost += lost,
                        Err(RecvError::Closed) => return None,
                    }
                }
                () = edge.shuts_down() => return None,
            }
        }
    }

    /// The reader's place, as an id.
    fn id(&self) -> String {
        format!("{}-{}", self.epoch, self.jobs.at())
    }

    async fn tell_pool(&mut self) -> Option<()> {
        self.pool_pace.told(POOL_EVERY);
        self.pool.mark_unchanged();
        // A supervisor that has ended has no pool, and the server ends.
        let view = self.edge.supervisor.view().await.ok()?;
        let busy = view.workers.iter().any(|worker| matches!(worker.activity, WorkerActivity::Busy(_)));
        self.measure_at = busy.then(|| Instant::now() + BUSY_EVERY);
        self.ready.push_back(event("pool", &self.id(), &pool_view(&view)));
        Some(())
    }

    async fn tell_jobs(&mut self) -> StoreResult<()> {
        self.jobs_pace.told(JOBS_EVERY);
        let before = self.id();
        let (slots, now) = (self.edge.supervisor.roster().slots, (self.edge.now)());
        // One that changes meanwhile is there once, as it was last.
        let (mut items, mut bytes, mut gone) = (BTreeMap::new(), 0, Vec::new());
        while items.len() + gone.len() < MOST_JOBS && bytes < MOST_JOBS_BYTES {
            let ids = match self.jobs.next(JOBS_AT_ONCE) {
                Changed::Jobs(ids) if ids.is_empty() => break,
                Changed::Jobs(ids) => ids,
                Changed::Unknown => {
                    self.ready.push_back(event("reset", &self.id(), &ResetBody {}));
                    return Ok(());
                }
            };
            let jobs = self.edge.store.jobs_of(ids.clone()).await?;
            gone.extend(ids.into_iter().filter(|id| jobs.iter().all(|job| job.id != *id)));
            for job in &jobs {
                let item = to_raw_value(&brief_view(job, slots, now)).expect("a view always serialises");
                bytes += item.get().len();
                items.insert(job.id, item);
            }
        }
        if !items.is_empty() {
            // Who is cut between the two events gets both again.
            let id = if gone.is_empty() { self.id() } else { before };
            self.ready.push_back(event("jobs", &id, &JobsBody { items: items.into_values().collect() }));
        }
        if !gone.is_empty() {
            self.ready.push_back(event("forgotten", &self.id(), &ForgottenBody { ids: gone }));
        }
        Ok(())
    }

    fn tell_tasks(&mut self) {
        self.tasks_pace.told(TASKS_EVERY);
        // No more than the channel holds, however fast it is filled.
        for _ in 0..self.tasks.len() {
            match self.tasks.try_recv() {
                Ok(ended) => self.ended.push(ended),
                Err(TryRecvError::Lagged(lost)) => self.lost += lost,
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        let surplus = self.ended.len().saturating_sub(MOST_CHUNKS);
        let dropped = std::mem::take(&mut self.lost) + surplus as u64;
        let ended = std::mem::take(&mut self.ended);
        let items = ended[surplus..].iter().map(|ended| chunk_view(ended)).collect();
        self.ready.push_back(event("tasks", &self.id(), &TasksBody { items, dropped }));
    }
}

/// Jobs as they stand in a list.
#[derive(Serialize, ToSchema)]
struct JobsBody {
    #[schema(value_type = Vec<JobBody>)]
    items: Vec<Box<RawValue>>,
}

/// What has ended, and how many chunks were left out.
#[derive(Serialize, ToSchema)]
struct TasksBody<'a> {
    items: Vec<ChunkBody<'a>>,
    /// How many older ones are not told.
    dropped: u64,
}

/// Tasks that a worker has ended together.
#[derive(Serialize, ToSchema)]
#[schema(as = EndedTasks)]
struct ChunkBody<'a> {
    worker: &'a str,
    pid: u32,
    job: JobId,
    function: &'a str,
    /// The first of them.
    index: u64,
    /// How many they are.
    count: u32,
    /// When the first began, in milliseconds since 1970.
    started_ms: f64,
    /// How long they took together, in milliseconds.
    duration_ms: f64,
    /// How many of them have failed.
    failed: u32,
}

/// Nothing is known to tell.
#[derive(Serialize, ToSchema)]
struct ResetBody {}

fn chunk_view(ended: &EndedTasks) -> ChunkBody<'_> {
    let EndedTasks { worker, pid, job, function, index, count, failed, started_at, duration, .. } = ended;
    ChunkBody {
        worker,
        pid: *pid,
        job: *job,
        function,
        index: *index,
        count: *count,
        started_ms: started_at.0 as f64 / 1e3,
        duration_ms: ms(*duration),
        failed: *failed,
    }
}
