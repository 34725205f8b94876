//! Metrics to text, in either format.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::model::Histogram;

pub(super) type Labels<'a> = Vec<(&'static str, &'a str)>;
/// The values of a metric, each with its labels.
pub(super) type Samples<'a, T> = Vec<(Labels<'a>, T)>;

/// The value of a metric without labels.
pub(super) fn one<T>(value: T) -> Samples<'static, T> {
    vec![(Vec::new(), value)]
}

/// What the metrics are written to.
pub(super) struct Page<'a>(pub(super) DescriptorEncoder<'a>);

impl Page<'_> {
    /// A counter; the format puts `_total` behind its name.
    pub(super) fn counter<T: Value>(
        &mut self,
        name: &str,
        help: &str,
        samples: Samples<'_, T>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Counter, samples, |metric, value| value.count(metric))
    }

    pub(super) fn gauge<T: Value>(&mut self, name: &str, help: &str, samples: Samples<'_, T>) -> fmt::Result {
        self.family(name, help, MetricType::Gauge, samples, |metric, value| value.gauge(metric))
    }

    /// Buckets end at these powers of two, in nanoseconds: a [`Histogram`] knows exactly how many times lie below.
    pub(super) fn histogram(
        &mut self,
        name: &str,
        help: &str,
        powers: &[u32],
        samples: Samples<'_, &Histogram>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Histogram, samples, |metric, histogram| {
            let mut before = 0;
            let mut buckets: Vec<(f64, u64)> = Vec::new();
            for power in powers.iter().copied() {
                let below = histogram.below(power);
                buckets.push(((1_u64 << power) as f64 / 1e9, below - before));
                before = below;
            }
            buckets.push((f64::INFINITY, histogram.count - before));
            metric.encode_histogram::<NoLabelSet>(
                histogram.sum_ns as f64 / 1e9,
                histogram.count,
                &buckets,
                None,
            )
        })
    }

    fn family<T>(
        &mut self,
        name: &str,
        help: &str,
        metric_type: MetricType,
        samples: Samples<'_, T>,
        encode: impl Fn(&mut MetricEncoder<'_>, T) -> fmt::Result,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, metric_type)?;
        for (labels, value) in samples {
            encode(&mut metric.encode_family(&labels)?, value)?;
        }
        Ok(())
    }
}

/// A number on the page.
pub(super) trait Value {
    fn count(self, metric: &mut MetricEncoder<'_>) -> fmt::Result;
    fn gauge(self, metric: &mut MetricEncoder<'_>) -> fmt::Result;
}

impl Value for u64 {
    fn count(self, metric: &mut MetricEncoder<'_>) -> fmt::Result {
        metric.encode_counter::<NoLabelSet, _, u64>(&self, None)
    }

    fn gauge(self, metric: &mut MetricEncoder<'_>) -> fmt::Result {
        metric.encode_gauge(&self)
    }
}

impl Value for f64 {
    fn count(self, metric: &mut MetricEncoder<'_>) -> fmt::Result {
        metric.encode_counter::<NoLabelSet, _, f64>(&self, None)
    }

    fn gauge(self, metric: &mut MetricEncoder<'_>) -> fmt::Result {
        metric.encode_gauge(&self)
    }
}
