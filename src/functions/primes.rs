//! `primes` counts the primes below a number: CPU time with small, bounded memory.
//!
//! Input: n, an integer from 0 to 1,000,000,000. Output: how many primes are less than n. Errors: `BadInput`
//! for anything else.
//!
//! A sieve of Eratosthenes over the odd numbers only, one segment at a time so that the segment stays in the
//! first-level cache (Bays and Hudson, "The segmented sieve of Eratosthenes", BIT 17, 1977).

use serde_json::value::RawValue;

use super::{Function, FunctionError, write};

pub(super) const FUNCTION: Function = Function {
    name: "primes",
    description: "Counts the primes below n.",
    input: "n: integer from 0 to 1000000000",
    output: "how many primes are less than n: integer",
    example: ("100", "25"),
    run,
};

const MOST: usize = 1_000_000_000;

/// Odd numbers in a segment, at a byte each: what a first-level data cache of 32 KiB holds.
const SEGMENT: usize = 32 * 1024;

fn run(input: &RawValue, out: &mut Vec<u8>) -> Result<(), FunctionError> {
    const WANTED: &str = "an integer from 0 to 1000000000";
    let n = FUNCTION.parse(input, WANTED)?;
    if n > MOST {
        return Err(FUNCTION.refuse(input, WANTED));
    }
    write(&primes_below(n), out);
    Ok(())
}

/// Position i of the sieve stands for the odd number 2i + 1.
fn primes_below(n: usize) -> usize {
    if n <= 2 {
        return 0;
    }
    let odds = n / 2;
    let mut segment = vec![true; SEGMENT.min(odds)];
    let mut crossers: Vec<Crosser> = odd_primes_to_root(n).map(Crosser::new).collect();
    // The 1 at position 0 is never crossed out; it counts in place of the prime 2, which has no position.
    (0..odds)
        .step_by(SEGMENT)
        .map(|low| {
            segment.fill(true);
            for crosser in &mut crossers {
                crosser.cross(&mut segment);
            }
            let end = segment.len().min(odds - low);
            segment[..end].iter().filter(|&&prime| prime).count()
        })
        .sum()
}

/// The odd primes p with p * p < n, by trial division: at most 3,400 of them.
fn odd_primes_to_root(n: usize) -> impl Iterator<Item = usize> {
    let odds = || (3_usize..).step_by(2);
    odds()
        .take_while(move |p| p * p < n)
        .filter(move |p| odds().take_while(|d| d * d <= *p).all(|d| !p.is_multiple_of(d)))
}

/// Crosses out the odd multiples of one prime, segment after segment.
struct Crosser {
    prime: usize,
    /// The position of the next multiple, counted from the start of the next segment.
    next: usize,
}

impl Crosser {
    fn new(prime: usize) -> Self {
        // Smaller multiples have a smaller prime factor, which crosses them out.
        Self { prime, next: prime * prime / 2 }
    }

    fn cross(&mut self, segment: &mut [bool]) {
        while self.next < segment.len() {
            segment[self.next] = false;
            self.next += self.prime;
        }
        self.next -= segment.len();
    }
}

#[cfg(test)]
mod tests {
    use super::super::{call, refusal};
    use super::*;

    #[test]
    fn agrees_with_known_counts() {
        let known = [("0", "0"), ("10", "4"), ("100", "25"), ("1000000", "78498"), ("10000000", "664579")];
        for (n, primes) in known {
            assert_eq!(call("primes", n).as_deref(), Ok(primes));
        }
    }

    #[test]
    fn agrees_with_trial_division() {
        let is_prime = |n: usize| n > 1 && (2..n).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d));
        let mut primes = 0;
        for n in 0..3000 {
            assert_eq!(primes_below(n), primes, "below {n}");
            primes += usize::from(is_prime(n));
        }
    }

    #[test]
    fn agrees_across_a_segment_boundary() {
        let boundary = 2 * SEGMENT;
        // 65537 is the only prime from 65535 to 65538, and 6542 primes are below it.
        let counts = [boundary - 1, boundary, boundary + 1, boundary + 2].map(primes_below);
        assert_eq!(counts, [6542, 6542, 6542, 6543]);
    }

    #[test]
    fn refuses_what_would_take_too_long() {
        let message = refusal("primes", "1000000001");
        assert_eq!(message, "primes wants an integer from 0 to 1000000000, not 1000000001");
        refusal("primes", "-1");
    }
}
