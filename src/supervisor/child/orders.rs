//! The way of orders to a worker's thread, which waits for them and for the worker's pipes at once. While the worker is at
//! work, its next chunk is not worth a wake-up: the thread finds it when it is woken by an answer.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};

use rustix::event::{EventfdFlags, eventfd};

use super::Order;

/// Makes a way, by its two ends.
pub(super) fn orders() -> io::Result<(Handle, Incoming)> {
    let (orders, incoming) = channel();
    let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let bell = Arc::new(Bell { event, rests: AtomicBool::new(false) });
    Ok((Handle { orders, bell: Arc::clone(&bell) }, Incoming { orders: incoming, bell }))
}

/// What wakes the thread.
#[derive(Debug)]
struct Bell {
    event: OwnedFd,
    /// Whether the thread will look for orders soon, without being woken.
    rests: AtomicBool,
}

/// The way to a worker's thread.
#[derive(Clone, Debug)]
pub(in crate::supervisor) struct Handle {
    orders: Sender<Order>,
    bell: Arc<Bell>,
}

/// Where a worker's thread finds its orders.
#[derive(Debug)]
pub(super) struct Incoming {
    orders: Receiver<Order>,
    bell: Arc<Bell>,
}

impl Handle {
    /// Passes an order on. A worker that has just ended does not need it: what it had is given back.
    pub(in crate::supervisor) fn order(&self, order: Order) {
        let is_patient = matches!(&order, Order::Run(assignment) if assignment.is_small());
        drop(self.orders.send(order));
        // Behind their fences, either this sees that the thread does not rest, or the thread sees the order.
        fence(Ordering::SeqCst);
        if !(is_patient && self.bell.rests.load(Ordering::Relaxed)) {
            // The counter of an eventfd is full only after 2^64 wake-ups that nobody took.
            let _ = rustix::io::write(&self.bell.event, &1_u64.to_ne_bytes());
        }
    }
}

impl Incoming {
    /// What can be read from when there is an order that does not wait.
    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.event.as_fd()
    }

    /// Every order that is not found after this wakes the thread, unless it rests again.
    pub(super) fn look(&self, was_woken: bool) {
        if was_woken {
            // Only how often it was, which does not matter.
            let _ = rustix::io::read(&self.bell.event, &mut [0; 8]);
        }
        self.bell.rests.store(false, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The next order, if there is one.
    pub(super) fn next(&self) -> Result<Order, TryRecvError> {
        self.orders.try_recv()
    }

    /// Lets small chunks wait until the thread looks again.
    pub(super) fn rest(&self) {
        self.bell.rests.store(true, Ordering::Relaxed);
    }
}
