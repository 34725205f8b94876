//! What an answer means, and when the next try is.

use std::time::Duration;

use crate::model::Timestamp;
use crate::store::TryOutcome;

/// How long after a failed try the next one is: the schedule that Standard Webhooks 1.0 gives as its example. It ends three
/// days after the first try.
const WAITS: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_mins(5),
    Duration::from_mins(30),
    Duration::from_hours(2),
    Duration::from_hours(5),
    Duration::from_hours(10),
    Duration::from_hours(14),
    Duration::from_hours(20),
    MOST_WAIT,
];
/// A receiver that asks for more is asked again after this.
pub(in crate::webhooks) const MOST_WAIT: Duration = Duration::from_hours(24);
/// By chance it is later, by up to this part, so that what failed together is not tried together.
const SPREAD: f64 = 0.2;

/// What a receiver said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::webhooks) enum Answer {
    /// A status, and after how long to come again, if it said so.
    Status(u16, Option<Duration>),
    /// There was no answer; why.
    None(String),
}

/// What becomes of a message after a try; `attempts` were made before it. The chance is drawn from `seed`.
pub(in crate::webhooks) fn judge(answer: Answer, attempts: u32, seed: u64, now: Timestamp) -> TryOutcome {
    let (error, asked) = match answer {
        Answer::Status(200..=299, _) => return TryOutcome::Delivered,
        Answer::Status(410, _) => {
            return TryOutcome::GivenUp { error: "the answer was 410: the receiver wants no more".into() };
        }
        Answer::Status(status @ (429 | 503), asked) => (format!("the answer was {status}"), asked),
        Answer::Status(status @ 300..=399, _) => {
            (format!("the answer was {status}; redirects are not followed"), None)
        }
        Answer::Status(status, _) => (format!("the answer was {status}"), None),
        Answer::None(why) => (why, None),
    };
    let Some(wait) = WAITS.get(attempts as usize) else { return TryOutcome::GivenUp { error } };
    let wait =
        wait.mul_f64(1.0 + SPREAD * part(seed, attempts)).max(asked.unwrap_or_default().min(MOST_WAIT));
    TryOutcome::Again { error, at: Timestamp(now.0 + wait.as_micros() as i64) }
}

/// From 0 to 1, by one round of `SplitMix64` (Steele, Lea and Flood 2014).
fn part(seed: u64, attempts: u32) -> f64 {
    let mut mixed = seed.wrapping_add(u64::from(attempts)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed >> 40) as f64 / (1_u64 << 24) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000_000);

    fn wait(answer: Answer, attempts: u32, seed: u64) -> Option<Duration> {
        match judge(answer, attempts, seed, NOW) {
            TryOutcome::Again { at, .. } => Some(at.since(NOW)),
            TryOutcome::Delivered | TryOutcome::GivenUp { .. } => None,
        }
    }

    #[test]
    fn it_is_tried_ten_times_in_three_days() {
        for (attempts, expected) in WAITS.iter().enumerate() {
            let waits: Vec<_> = (0..100)
                .map(|seed| wait(Answer::Status(500, None), attempts as u32, seed).unwrap())
                .collect();
            let (least, most) = (*waits.iter().min().unwrap(), *waits.iter().max().unwrap());
            assert!(least >= *expected && most <= expected.mul_f64(1.2), "{attempts}: {least:?} to {most:?}");
            assert!(most > least.mul_f64(1.1), "{attempts}: they are spread: {least:?} to {most:?}");
        }
        assert!(WAITS.iter().sum::<Duration>().as_secs() / 86_400 == 3);
        let last = judge(Answer::None("no answer".into()), 9, 1, NOW);
        assert_eq!(last, TryOutcome::GivenUp { error: "no answer".into() });
    }

    #[test]
    fn only_2xx_is_taken_and_410_is_the_end() {
        for status in [200, 202, 204, 299] {
            assert_eq!(judge(Answer::Status(status, None), 9, 1, NOW), TryOutcome::Delivered);
        }
        assert!(matches!(judge(Answer::Status(410, None), 0, 1, NOW), TryOutcome::GivenUp { .. }));
        for status in [101, 199, 300, 301, 307, 400, 401, 404, 429, 500, 503, 600] {
            assert!(wait(Answer::Status(status, None), 0, 1).is_some(), "{status}");
        }
        let TryOutcome::Again { error, .. } = judge(Answer::Status(302, None), 0, 1, NOW) else { panic!() };
        assert_eq!(error, "the answer was 302; redirects are not followed");
    }

    #[test]
    fn a_receiver_may_ask_for_more_time() {
        let asked =
            |status, seconds| wait(Answer::Status(status, Some(Duration::from_secs(seconds))), 0, 1).unwrap();
        assert_eq!((asked(503, 60).as_secs(), asked(429, 7200).as_secs()), (60, 7200));
        assert_eq!(asked(429, 1).as_secs(), 5, "not sooner than by the schedule");
        assert_eq!(asked(503, 10_000_000), MOST_WAIT);
        assert_eq!(asked(500, 60).as_secs(), 5);
    }
}
