//! What became of the tasks: the queue of results, their failures, their times and what was printed.

use gristmill::model::{JobId, JobState, ResultSegment, Timestamp};
use gristmill::store::{LogEntry, LogFilter, Order, Retried};

use crate::bench::Bench;

pub(super) async fn results_are_a_queue_without_a_gap(bench: Bench) {
    let id = bench.submit(30).await;
    let chunks = bench.claim(id, 3, 10).await;
    for chunk in [&chunks[2], &chunks[0], &chunks[1]] {
        assert!(bench.complete(chunk).await.held);
    }
    assert_eq!(bench.state(id).await, JobState::Succeeded);
    bench.assert_whole(id).await;
    let queue = bench.queue(id).await;
    assert_eq!((queue[0].index, queue[10].index, queue[29].index), (20, 0, 19));
    assert_eq!(queue[10].line.as_deref(), Some("\"output 0\""));
}

pub(super) async fn any_cursor_and_page_size_walk_each_result_once(bench: Bench) {
    let id = bench.submit(40).await;
    let chunks = bench.claim(id, 100, 6).await;
    for chunk in chunks.iter().rev() {
        bench.complete(chunk).await;
    }
    for order in [Order::Completion, Order::Input] {
        let whole = bench.read(id, order, 0, 1_000).await;
        assert_eq!(whole.len(), 40);
        for limit in [1, 5, 6, 7, 39, 40, 41] {
            assert_eq!(bench.read(id, order, 0, limit).await, whole, "{order:?} by {limit}");
        }
        for after in 0..=41 {
            let rest = whole.get(after..).unwrap_or_default();
            assert_eq!(bench.read(id, order, after as u64, 9).await, rest, "{order:?} after {after}");
        }
    }
}

pub(super) async fn the_order_of_the_inputs_gives_the_longest_finished_prefix(bench: Bench) {
    let id = bench.submit(9).await;
    let chunks = bench.claim(id, 3, 3).await;
    let prefix = async || bench.read(id, Order::Input, 0, 100).await.len();
    bench.complete(&chunks[1]).await;
    assert_eq!(prefix().await, 0);
    bench.complete_some(&chunks[0], 0, 2, &[]).await;
    assert_eq!(prefix().await, 2);
    bench.complete_some(&chunks[0], 2, 1, &[]).await;
    assert_eq!(prefix().await, 6);
    bench.complete(&chunks[2]).await;
    let indexes: Vec<u64> =
        bench.read(id, Order::Input, 0, 100).await.iter().map(|seen| seen.index).collect();
    assert_eq!(indexes, (0..9).collect::<Vec<_>>());
}

pub(super) async fn failures_are_found_among_the_results(bench: Bench) {
    let id = bench.submit(40).await;
    for chunk in bench.claim(id, 4, 10).await {
        bench.complete_some(&chunk, chunk.first, 10, &[3, 7, 25, 26]).await;
    }
    let failures = async |after| {
        let found = bench.store().results(id, Order::Failed, after, 100).await.unwrap();
        let of = |segment: &ResultSegment| {
            let first = segment.first_seq;
            segment.failures().into_iter().map(|at| first + at).filter(|seq| *seq > after).collect::<Vec<_>>()
        };
        found.iter().flat_map(of).collect::<Vec<u64>>()
    };
    assert_eq!(failures(0).await, [4, 8, 26, 27]);
    assert_eq!(failures(4).await, [8, 26, 27]);
    assert_eq!(failures(26).await, [27]);
    assert_eq!(failures(27).await, [0; 0]);
    let Ok(Retried::Yes(..)) = bench.store().retry_failed(id).await else { panic!() };
    assert_eq!(failures(0).await, [0; 0], "they run again");
    for chunk in bench.claim(id, 4, 10).await {
        bench.complete_some(&chunk, chunk.first, 1, &[26]).await;
    }
    assert_eq!(failures(0).await.len(), 1);
}

pub(super) async fn results_are_freed_up_to_where_their_reader_is(bench: Bench) {
    let id = bench.submit(30).await;
    for chunk in bench.claim(id, 3, 10).await {
        bench.complete(&chunk).await;
    }
    let queue = bench.queue(id).await;
    assert_eq!(bench.store().free_results(id, 20).await.unwrap(), Some(20));
    assert_eq!(bench.store().freed_through(id).await.unwrap(), 20);
    assert_eq!(bench.read(id, Order::Completion, 20, 100).await, queue[20..]);
    assert_eq!(bench.store().free_results(id, 5).await.unwrap(), Some(20));
    assert_eq!(bench.store().free_results(Bench::new_id(), 5).await.unwrap(), None);
    assert_eq!(bench.job(id).await.tally.done(), 30);
}

pub(super) async fn times_and_shares_add_up(bench: Bench) {
    let id = bench.submit(10).await;
    let chunks = bench.claim(id, 2, 5).await;
    bench.complete(&chunks[1]).await;
    bench.complete(&chunks[0]).await;
    let job = bench.job(id).await;
    assert_eq!((job.task_times.count, job.task_times.min_ns, job.task_times.max_ns), (10, 1_000, 1_009));
    assert_eq!(job.cpu_ns, 1_800);
    let [share] = &job.workers[..] else { panic!("{:?}", job.workers) };
    assert_eq!((share.worker.as_str(), share.pid, share.node.as_str()), ("worker-1", 42, "node"));
    assert_eq!((share.tasks, share.busy_ns, share.cpu_ns, share.max_rss_bytes), (10, 2_000, 1_800, 4_101));
}

/// Each task that ran, with its attempt and whether it failed, in the order of completion.
async fn all_runs(bench: &Bench, id: JobId) -> Vec<(u64, u32, bool)> {
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let runs = bench.store().runs(id, after).await.unwrap();
        let Some(last) = runs.last() else { return all };
        after = last.first_seq;
        for run in runs {
            assert_eq!((run.worker.as_str(), run.pid), ("worker-1", 42));
            let most = Timestamp(bench.now().0 + 1_000_000);
            assert!(Timestamp(0) < run.span.start && run.span.start <= run.span.end, "{run:?}");
            assert!(run.span.end <= most, "{run:?}");
            let outcomes = run.outcomes.iter().map(|(_, failed)| failed);
            all.extend((run.first_index..).zip(outcomes).map(|(index, failed)| (index, run.attempt, failed)));
        }
    }
}

pub(super) async fn what_ran_when_is_kept_without_payload(bench: Bench) {
    let id = bench.submit(300).await;
    let chunk = bench.claim_one(id, 200).await;
    bench.complete_some(&chunk, 0, 200, &[3, 4]).await;
    let expected: Vec<_> = (0..200).map(|index| (index, 1, index == 3 || index == 4)).collect();
    assert_eq!(all_runs(&bench, id).await, expected);
    bench.store().cancel(id, bench.now()).await.unwrap();
    assert_eq!(all_runs(&bench, id).await, expected, "what was cancelled has not run");
    assert!(matches!(bench.store().retry_failed(id).await.unwrap(), Retried::Yes(_, 2)));
    for _ in 0..2 {
        let again = bench.claim_one(id, 1).await;
        bench.complete(&again).await;
    }
    let again = [(3, 2, false), (4, 2, false)];
    assert_eq!(all_runs(&bench, id).await, [expected, again.to_vec()].concat());
    let seq = bench.store().free_results(id, 100).await.unwrap().unwrap();
    assert_eq!(all_runs(&bench, id).await.len() as u64, 202 - seq);
    assert!(bench.store().runs(Bench::new_id(), 0).await.unwrap().is_empty());
}

fn printed(index: u64, text: &str) -> LogEntry {
    let (worker, stream, text) = ("worker-1".into(), "stderr".into(), text.to_owned());
    let at = Timestamp(1_000 + index as i64);
    LogEntry { seq: 0, at, index, attempt: 1, worker, pid: 42, stream, text, dropped_bytes: 0 }
}

pub(super) async fn what_tasks_print_is_kept_and_bounded(bench: Bench) {
    let id = bench.submit(3).await;
    let all = |limit| LogFilter { after: 0, index: None, limit };
    bench.store().append_logs(id, vec![printed(0, "a"), printed(1, "\u{0}é\n")]).await.unwrap();
    bench.store().append_logs(id, vec![printed(1, "c")]).await.unwrap();
    bench.store().append_logs(Bench::new_id(), vec![printed(0, "nobody's")]).await.unwrap();
    bench.settle().await;
    let page = bench.store().logs(id, all(10)).await.unwrap();
    let expected = [printed(0, "a"), printed(1, "\u{0}é\n"), printed(1, "c")];
    let expected: Vec<_> = (1..).zip(expected).map(|(seq, entry)| LogEntry { seq, ..entry }).collect();
    assert_eq!((page.entries, page.dropped_bytes), (expected.clone(), 0));
    let filter = LogFilter { after: 1, index: Some(1), limit: 1 };
    assert_eq!(bench.store().logs(id, filter).await.unwrap().entries, expected[1..2]);
    let large = "x".repeat(1 << 20);
    bench.store().append_logs(id, (0..5).map(|_| printed(2, &large)).collect()).await.unwrap();
    bench.settle().await;
    let page = bench.store().logs(id, all(10)).await.unwrap();
    assert_eq!(page.entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [5, 6, 7, 8]);
    assert_eq!(page.dropped_bytes, 1 + 4 + 1 + (1 << 20));
}
