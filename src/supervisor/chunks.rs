//! Leased chunks that no worker has yet.

use std::collections::BTreeMap;

use crate::model::LeaseId;
use crate::store::Chunk;

/// With more bytes of inputs here, first tasks of further jobs are better left in the store until a worker is free for them.
const LARGE_BYTES: usize = 1 << 20;

/// The chunks, by their leases.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    by_lease: BTreeMap<LeaseId, Chunk>,
    bytes: usize,
}

impl Chunks {
    pub(super) fn add(&mut self, chunk: Chunk) {
        self.bytes += chunk.inputs.len();
        self.by_lease.insert(chunk.lease, chunk);
    }

    pub(super) fn take(&mut self, lease: LeaseId) -> Option<Chunk> {
        let chunk = self.by_lease.remove(&lease)?;
        self.bytes -= chunk.inputs.len();
        Some(chunk)
    }

    /// Whether they take much memory.
    pub(super) fn are_large(&self) -> bool {
        self.bytes > LARGE_BYTES
    }
}
