//! What every store does, a scenario each; the list at the end has each of them tried on each kind of store.

mod callbacks;
mod ends;
mod leases;
mod lists;
mod results;
mod submits;

use crate::bench::{Bench, Kind};

macro_rules! contract {
    ($($module:ident { $($scenario:ident)* })*) => {
        mod memory {
            $($(#[tokio::test] async fn $scenario() { super::$module::$scenario(super::Bench::new(super::Kind::Memory)).await })*)*
        }
        mod sqlite_files {
            $($(#[tokio::test] async fn $scenario() { super::$module::$scenario(super::Bench::new(super::Kind::SqliteFiles)).await })*)*
        }
        mod sqlite {
            $($(#[tokio::test] async fn $scenario() { super::$module::$scenario(super::Bench::new(super::Kind::Sqlite)).await })*)*
        }
    };
}

contract! {
    submits {
        inputs_come_back_byte_for_byte_across_segments
        what_is_unstaged_never_was
        a_job_is_told_of_once_and_only_if_there_is_something_to_do
        a_job_without_inputs_has_succeeded
        a_key_names_one_job_for_good
        an_open_job_takes_more_inputs_until_it_is_closed
        a_full_queue_takes_no_more_and_keeps_nothing_of_it
    }
    leases {
        a_claim_gives_what_it_is_asked_for_and_says_what_is_left
        the_last_tasks_can_be_claimed_from_the_end_on
        an_open_job_has_no_end_to_begin_with
        a_chunk_may_be_answered_in_parts
        tasks_go_back_as_they_were_alone_or_charged
        the_tail_of_a_lease_can_be_taken_back
        what_was_charged_keeps_its_attempts_when_we_lose_it
        a_charged_task_waits_its_time
        runnable_jobs_come_by_priority_and_then_by_age
        runnable_jobs_that_are_blocked_are_left_out
        a_paused_job_gives_no_leases_until_it_is_resumed
        a_restart_keeps_results_and_gives_leases_back_free_of_charge
    }
    ends {
        failed_tasks_are_counted_and_fail_the_job
        stop_on_error_cancels_the_rest
        what_is_not_leased_can_be_failed
        failed_tasks_can_be_run_again
        failed_tasks_whose_results_are_freed_stay_failed
        a_cancel_ends_a_queued_job_at_once
        a_cancel_waits_for_what_is_leased_and_keeps_what_is_done
        a_cancel_that_a_restart_interrupts_is_finished_by_it
        a_job_is_forgotten_only_when_it_has_ended
        jobs_that_ended_are_swept_by_age_and_by_number
    }
    results {
        results_are_a_queue_without_a_gap
        any_cursor_and_page_size_walk_each_result_once
        the_order_of_the_inputs_gives_the_longest_finished_prefix
        failures_are_found_among_the_results
        results_are_freed_up_to_where_their_reader_is
        times_and_shares_add_up
        what_ran_when_is_kept_without_payload
        what_tasks_print_is_kept_and_bounded
    }
    lists {
        jobs_are_listed_newest_first_and_filtered
        a_watch_wakes_when_its_job_changes
        who_follows_all_jobs_hears_of_each_change
        what_there_is_is_counted
    }
    callbacks {
        every_end_of_a_job_is_told
        what_became_of_a_try_is_kept
        a_job_that_goes_on_ends_again
        one_receiver_does_not_hide_another
        nothing_is_told_of_what_is_forgotten
    }
}
