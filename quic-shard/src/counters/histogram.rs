//! How long things took: counts by bucket, of one writer, in the Prometheus text format.

use super::count::Count;
use std::fmt::Write as _;

/// Upper bounds of the buckets, in microseconds; what took longer is in one more bucket.
const BOUNDS_US: [u64; 19] = [
    50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 15_000, 20_000, 35_000, 50_000, 75_000, 100_000, 150_000, 200_000,
    250_000, 500_000, 1_000_000,
];

/// One shard's distribution of a duration.
#[derive(Default)]
pub struct Histogram {
    buckets: [Count; BOUNDS_US.len() + 1],
    sum_us: Count,
}

impl Histogram {
    /// Adds `times` durations of `micros` microseconds.
    pub fn add(&self, micros: u64, times: u64) {
        let at = BOUNDS_US.partition_point(|&bound| bound < micros);
        self.buckets[at].add(times);
        self.sum_us.add(micros * times);
    }
}

/// The sum of all shards' histograms, under one name that ends in `_seconds`.
pub fn render<'a>(name: &str, shards: impl Iterator<Item = &'a Histogram>) -> String {
    let (mut counts, mut sum_us) = ([0; BOUNDS_US.len() + 1], 0);
    for histogram in shards {
        counts
            .iter_mut()
            .zip(&histogram.buckets)
            .for_each(|(sum, count)| *sum += count.value());
        sum_us += histogram.sum_us.value();
    }
    let mut text = format!("# TYPE {name} histogram\n");
    let mut cumulative = 0;
    for (at, count) in counts.into_iter().enumerate() {
        cumulative += count;
        let bound = BOUNDS_US
            .get(at)
            .map_or("+Inf".to_owned(), |&us| (us as f64 / 1e6).to_string());
        writeln!(text, "{name}_bucket{{le=\"{bound}\"}} {cumulative}").expect("writing to a String cannot fail");
    }
    let sum_s = sum_us as f64 / 1e6;
    writeln!(text, "{name}_sum {sum_s}\n{name}_count {cumulative}").expect("writing to a String cannot fail");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_bounds_belong_to_them() {
        let shards = [Histogram::default(), Histogram::default()];
        shards[0].add(50, 2);
        shards[0].add(51, 1);
        shards[1].add(250_000, 1);
        shards[1].add(9_000_000, 1);
        let text = render("x_seconds", shards.iter());
        for line in [
            "x_seconds_bucket{le=\"0.00005\"} 2",
            "x_seconds_bucket{le=\"0.0001\"} 3",
            "x_seconds_bucket{le=\"0.2\"} 3",
            "x_seconds_bucket{le=\"0.25\"} 4",
            "x_seconds_bucket{le=\"+Inf\"} 5",
            "x_seconds_sum 9.250151",
            "x_seconds_count 5",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
