//! Ends the worker that holds the most before the container's memory is full: the kernel would end one process of its
//! choice then, or, as Kubernetes asks it to, all of them.
//!
//! A thread that looks at the cgroup while there is work, the more often the less room is left. Deliberately absent: the
//! limits of a function's workers, which their own threads mind; and any cost where the memory is not limited.

mod decision;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use super::child::{self, Order};
use crate::pool::WorkerId;
use crate::sys::memory::{Group, Reading, free_swap, limited};
use crate::sys::proc;
use crate::units::show_size;
use decision::{Held, LONGEST, next_look, victim};

/// What the kernel has killed takes no longer to give its memory back.
const TIME_TO_DIE: Duration = Duration::from_millis(100);

/// What the loop tells.
#[derive(Debug)]
enum Message {
    /// A worker has started, below this guard.
    Started { worker: WorkerId, guard: u32, child: child::Handle },
    /// A worker has ended.
    Gone(WorkerId),
    /// There is work again.
    AtWork,
}

/// The way to the thread, if there is one: only where the memory is limited.
#[derive(Debug, Default)]
pub(super) struct Memory(Option<Thread>);

#[derive(Debug)]
struct Thread {
    messages: Sender<Message>,
    pace: Arc<Pace>,
}

/// Whether there is work, and whether the thread has gone to sleep as there was none. Small jobs that come one by one change
/// the first all the time, which must wake nobody.
#[derive(Debug, Default)]
struct Pace {
    at_work: AtomicBool,
    asleep: AtomicBool,
}

impl Memory {
    /// Starts the thread if this process is in a cgroup with a limit.
    pub(super) fn start() -> Self {
        let groups = limited();
        let tightest = groups.iter().filter_map(|group| group.read(0)).map(|reading| reading.limit).min();
        let Some(memory_limit_bytes) = tightest else { return Self::default() };
        let (messages, incoming) = channel();
        let pace = Arc::new(Pace::default());
        let (workers, ending) = (BTreeMap::new(), BTreeMap::new());
        let groups =
            groups.into_iter().map(|group| Watched { kills: group.kills(), group, spared: None }).collect();
        let mut watch = Watch { groups, workers, ending, pace: Arc::clone(&pace) };
        let thread = std::thread::Builder::new().name("memory".into());
        if let Err(error) = thread.spawn(move || watch.run(&incoming)) {
            tracing::error!(%error, "nobody minds the container's memory");
            return Self::default();
        }
        tracing::info!(
            memory_limit_bytes,
            "before the container's memory is full, the worker that holds the most is ended"
        );
        Self(Some(Thread { messages, pace }))
    }

    pub(super) fn started(&self, worker: WorkerId, guard: u32, child: child::Handle) {
        self.tell(Message::Started { worker, guard, child });
    }

    pub(super) fn gone(&self, worker: WorkerId) {
        self.tell(Message::Gone(worker));
    }

    /// Whether any worker does more than wait for work.
    pub(super) fn set_at_work(&self, is: impl FnOnce() -> bool) {
        let Some(Thread { pace, .. }) = &self.0 else { return };
        let is = is();
        if pace.at_work.swap(is, Ordering::SeqCst) != is && is && pace.asleep.swap(false, Ordering::SeqCst) {
            self.tell(Message::AtWork);
        }
    }

    fn tell(&self, message: Message) {
        if let Some(thread) = &self.0 {
            // It ends only when this end of the channel does.
            drop(thread.messages.send(message));
        }
    }
}

impl Pace {
    /// Whether the thread may sleep until there is a message.
    fn rests(&self) -> bool {
        if self.at_work.load(Ordering::SeqCst) {
            return false;
        }
        self.asleep.store(true, Ordering::SeqCst);
        // Work that came between the two has not seen that it sleeps.
        !self.at_work.load(Ordering::SeqCst)
    }
}

/// Waits for a message, at most until then; for ever without an end.
fn wait(incoming: &Receiver<Message>, until: Option<Instant>) -> Result<Message, RecvTimeoutError> {
    match until {
        Some(until) => incoming.recv_timeout(until.saturating_duration_since(Instant::now())),
        None => incoming.recv().map_err(RecvTimeoutError::from),
    }
}

/// A cgroup, and what the kernel has done there.
#[derive(Debug)]
struct Watched {
    group: Group,
    /// How often it had killed there when last seen.
    kills: u64,
    /// Until when what it has killed may take to give its memory back.
    spared: Option<Instant>,
}

impl Watched {
    /// Whether the kernel has killed there just now, so that there will be room soon.
    fn is_spared(&mut self, now: Instant) -> bool {
        let kills = self.group.kills();
        if kills != self.kills {
            (self.kills, self.spared) = (kills, Some(now + TIME_TO_DIE));
        }
        self.spared.is_some_and(|until| now < until)
    }
}

#[derive(Debug)]
struct Watch {
    groups: Vec<Watched>,
    workers: BTreeMap<WorkerId, (u32, child::Handle)>,
    /// What those held that were told to end, and have not yet.
    ending: BTreeMap<WorkerId, u64>,
    pace: Arc<Pace>,
}

impl Watch {
    fn run(&mut self, incoming: &Receiver<Message>) {
        loop {
            let next = if self.pace.rests() { Duration::MAX } else { self.look() };
            // Looks are not put off by messages, as there may be many.
            let until = Instant::now().checked_add(next);
            loop {
                match wait(incoming, until) {
                    Ok(Message::AtWork) | Err(RecvTimeoutError::Timeout) => break,
                    Ok(message) => self.hear(message),
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        }
    }

    fn hear(&mut self, message: Message) {
        match message {
            Message::Started { worker, guard, child } => drop(self.workers.insert(worker, (guard, child))),
            Message::Gone(worker) => {
                self.workers.remove(&worker);
                self.ending.remove(&worker);
            }
            Message::AtWork => {}
        }
    }

    /// Looks at each cgroup, and does what is needed; how long until the next look.
    fn look(&mut self) -> Duration {
        let (now, free_swap) = (Instant::now(), free_swap());
        let looks = self.groups.iter_mut().filter_map(|watched| {
            let is_spared = watched.is_spared(now);
            watched.group.read(free_swap).map(|reading| (reading, is_spared))
        });
        let looks: Vec<(Reading, bool)> = looks.collect();
        looks.iter().filter(|(_, is_spared)| !is_spared).for_each(|(reading, _)| self.make_room(*reading));
        looks.iter().map(|(reading, _)| next_look(reading)).min().unwrap_or(LONGEST)
    }

    fn make_room(&mut self, reading: Reading) {
        let held = || {
            let staying = self.workers.iter().filter(|(worker, _)| !self.ending.contains_key(worker));
            staying.map(|(worker, (guard, _))| Held {
                worker: *worker,
                bytes: proc::rss_bytes(&proc::below(*guard)),
            })
        };
        let Some(Held { worker, bytes }) = victim(reading, self.ending.values().sum(), held) else { return };
        let Some((_, child)) = self.workers.get(&worker) else { return };
        let (held, limit) = (show_size(bytes), show_size(reading.limit));
        tracing::warn!(%worker, held, limit, "the container's memory is nearly full: its largest worker is ended");
        child.order(Order::MakeRoom { held: bytes, limit: reading.limit });
        self.ending.insert(worker, bytes);
    }
}
