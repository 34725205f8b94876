//! Task times in few bytes: a log-linear histogram with eight buckets to each doubling, so a percentile is
//! right to within 6.25 % (half a bucket), beside the exact count, sum, minimum and maximum.

use std::collections::BTreeMap;

/// Buckets to each doubling, as a power of two.
const SUB_BITS: u32 = 3;

/// How long tasks took, in nanoseconds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Histogram {
    buckets: BTreeMap<u16, u64>,
    /// How many times were recorded.
    pub count: u64,
    /// Their sum, in nanoseconds.
    pub sum_ns: u64,
    /// The shortest, in nanoseconds; 0 when there is none.
    pub min_ns: u64,
    /// The longest, in nanoseconds; 0 when there is none.
    pub max_ns: u64,
}

impl Histogram {
    /// The histogram of these times.
    pub fn of(times_ns: impl Iterator<Item = u64>) -> Self {
        let mut dense = [0_u64; BUCKETS];
        let mut histogram = Self { min_ns: u64::MAX, ..Self::default() };
        for ns in times_ns {
            dense[bucket(ns) as usize] += 1;
            histogram.count += 1;
            histogram.sum_ns = histogram.sum_ns.saturating_add(ns);
            histogram.min_ns = histogram.min_ns.min(ns);
            histogram.max_ns = histogram.max_ns.max(ns);
        }
        if histogram.count == 0 {
            return Self::default();
        }
        let filled = dense.iter().enumerate().filter(|(_, n)| **n > 0);
        histogram.buckets = filled.map(|(at, n)| (at as u16, *n)).collect();
        histogram
    }

    /// Adds one time.
    pub fn record(&mut self, ns: u64) {
        self.min_ns = if self.count == 0 { ns } else { self.min_ns.min(ns) };
        self.max_ns = self.max_ns.max(ns);
        self.count += 1;
        self.sum_ns = self.sum_ns.saturating_add(ns);
        *self.buckets.entry(bucket(ns)).or_default() += 1;
    }

    /// Adds all that `other` holds.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        self.min_ns = if self.count == 0 { other.min_ns } else { self.min_ns.min(other.min_ns) };
        self.max_ns = self.max_ns.max(other.max_ns);
        self.count += other.count;
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
        for (bucket, n) in &other.buckets {
            *self.buckets.entry(*bucket).or_default() += n;
        }
    }

    /// The time below which a share `q` (0 to 1) of the tasks lies, in nanoseconds; `None` when there is none.
    pub fn quantile(&self, q: f64) -> Option<u64> {
        let rank = ((q * self.count as f64).ceil() as u64).max(1);
        let mut seen = 0;
        let (bucket, _) = self.buckets.iter().find(|(_, n)| {
            seen += **n;
            seen >= rank
        })?;
        Some(middle(*bucket).clamp(self.min_ns, self.max_ns))
    }

    /// How many times lie below 2^`power` nanoseconds, for a `power` of 3 to 63: exactly so many, as there a bucket ends.
    pub fn below(&self, power: u32) -> u64 {
        let end = ((power - SUB_BITS + 1) << SUB_BITS) as u16;
        self.buckets.range(..end).map(|(_, n)| n).sum()
    }

    /// The mean in nanoseconds; `None` when there is none.
    pub fn mean_ns(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum_ns as f64 / self.count as f64)
    }

    /// The buckets that are not empty, the shortest times first: from, to (both in nanoseconds) and how many.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64, u64)> {
        self.buckets.iter().map(|(bucket, n)| {
            let (from, width) = bounds(*bucket);
            (from, from.saturating_add(width), *n)
        })
    }

    /// The bytes that stores keep: LEB128 numbers (sum, minimum, maximum, then pairs of bucket and count).
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(16 + 4 * self.buckets.len());
        for number in [self.sum_ns, self.min_ns, self.max_ns] {
            put_varint(&mut bytes, number);
        }
        for (bucket, n) in &self.buckets {
            put_varint(&mut bytes, u64::from(*bucket));
            put_varint(&mut bytes, *n);
        }
        bytes
    }

    /// Reads what [`Self::to_bytes`] wrote; `None` if it is something else. No bytes are an empty histogram.
    pub fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let mut histogram = Self::default();
        if bytes.is_empty() {
            return Some(histogram);
        }
        histogram.sum_ns = take_varint(&mut bytes)?;
        histogram.min_ns = take_varint(&mut bytes)?;
        histogram.max_ns = take_varint(&mut bytes)?;
        while !bytes.is_empty() {
            let bucket =
                u16::try_from(take_varint(&mut bytes)?).ok().filter(|b| usize::from(*b) < BUCKETS)?;
            let n = take_varint(&mut bytes)?;
            histogram.count += n;
            histogram.buckets.insert(bucket, n);
        }
        Some(histogram)
    }
}

const BUCKETS: usize = (65 - SUB_BITS as usize) << SUB_BITS;

/// Times below 8 ns have a bucket each; above, the three bits behind the leading one choose.
fn bucket(ns: u64) -> u16 {
    let log = ns.max(1).ilog2();
    if log < SUB_BITS {
        return ns as u16;
    }
    let sub = (ns >> (log - SUB_BITS)) & ((1 << SUB_BITS) - 1);
    (((log - SUB_BITS + 1) << SUB_BITS) + sub as u32) as u16
}

/// Where a bucket begins, and how wide it is.
fn bounds(bucket: u16) -> (u64, u64) {
    let (power, sub) = (u32::from(bucket) >> SUB_BITS, u64::from(bucket) & ((1 << SUB_BITS) - 1));
    if power == 0 {
        return (sub, 1);
    }
    let width = 1_u64 << (power - 1);
    (((1 << SUB_BITS) + sub) * width, width)
}

fn middle(bucket: u16) -> u64 {
    let (from, width) = bounds(bucket);
    from + width / 2
}

/// Appends an unsigned LEB128 number.
pub fn put_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Takes an unsigned LEB128 number from the front; `None` if there is no whole one of 64 bits.
pub fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_a_bucket_of_the_exact_ones() {
        let times = (1..=10_000_u64).map(|n| n * n);
        let histogram = Histogram::of(times.clone());
        let exact: Vec<u64> = times.collect();
        for q in [0.01, 0.5, 0.95, 0.99, 1.0] {
            let want = exact[(q * 10_000.0) as usize - 1] as f64;
            let got = histogram.quantile(q).unwrap() as f64;
            assert!((got / want - 1.0).abs() <= 0.0625, "q={q}: {got} for {want}");
        }
        assert_eq!((histogram.min_ns, histogram.max_ns, histogram.count), (1, 100_000_000, 10_000));
    }

    #[test]
    fn the_extremes_have_a_bucket() {
        for ns in [0, 1, 7, 8, 9, 15, 16, 1023, u64::MAX] {
            assert_eq!(Histogram::of([ns].into_iter()).quantile(0.5), Some(ns), "{ns}");
        }
    }

    #[test]
    fn what_lies_below_a_power_of_two_is_counted() {
        let times = [0, 7, 8, 15, 16, 1023, 1024, 1 << 40, u64::MAX];
        let histogram = Histogram::of(times.into_iter());
        for power in 3..64 {
            let below = times.iter().filter(|ns| **ns < 1 << power).count() as u64;
            assert_eq!(histogram.below(power), below, "2^{power}");
        }
    }

    #[test]
    fn each_time_lies_in_its_bucket() {
        for ns in [0, 7, 8, 1_000, 123_456_789, u64::MAX] {
            let buckets: Vec<_> = Histogram::of([ns, ns].into_iter()).buckets().collect();
            let [(from, to, 2)] = buckets[..] else { panic!("{buckets:?}") };
            assert!(from <= ns && (ns < to || to == u64::MAX), "{ns}: {from} to {to}");
        }
    }

    #[test]
    fn merging_is_as_recording_all() {
        let mut left = Histogram::of([5, 900].into_iter());
        left.merge(&Histogram::of([7, 1 << 40].into_iter()));
        left.merge(&Histogram::default());
        assert_eq!(left, Histogram::of([5, 900, 7, 1 << 40].into_iter()));
        let mut recorded = Histogram::default();
        [7, 5, 1 << 40, 900].into_iter().for_each(|ns| recorded.record(ns));
        assert_eq!(recorded, left);
    }

    #[test]
    fn the_bytes_read_back() {
        let histogram = Histogram::of((0..500).map(|n| n * 1_001));
        assert_eq!(Histogram::from_bytes(&histogram.to_bytes()), Some(histogram));
        assert_eq!(Histogram::from_bytes(&[]), Some(Histogram::default()));
        assert_eq!(Histogram::from_bytes(&[0xff]), None);
        assert_eq!(Histogram::default().quantile(0.5), None);
    }
}
