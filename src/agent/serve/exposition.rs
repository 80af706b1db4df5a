//! Prometheus' text format: <https://prometheus.io/docs/instrumenting/exposition_formats/>.
//!
//! *Invariant:* every family is on the page from the first scrape on, even while it has no samples.

use std::fmt::{Display, Write};

use crate::agent::tally::Histogram;

#[derive(Default)]
pub(crate) struct Exposition(String);

/// A label's name and value. Names of watches, hooks and registries are validated, and all other values are our own words, so
/// nothing needs escaping.
type Label<'a> = (&'static str, &'a str);

impl Exposition {
    pub(crate) fn counter(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "counter", help)
    }

    pub(crate) fn gauge(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "gauge", help)
    }

    pub(crate) fn histograms(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "histogram", help)
    }

    /// Begins a family. Its samples follow.
    fn family(&mut self, name: &'static str, kind: &str, help: &str) -> Family<'_> {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family { page: self, name }
    }

    pub(crate) fn text(self) -> String {
        self.0
    }
}

/// The family that is being written.
pub(crate) struct Family<'p> {
    page: &'p mut Exposition,
    name: &'static str,
}

impl Family<'_> {
    /// One sample for each of these values of the labels.
    pub(crate) fn samples<'a, const N: usize>(
        &mut self,
        labels: [&'static str; N],
        samples: impl IntoIterator<Item = ([&'a str; N], impl Display)>,
    ) {
        for (values, value) in samples {
            self.sample(&std::array::from_fn::<_, N, _>(|label| (labels[label], values[label])), value);
        }
    }

    pub(crate) fn sample(&mut self, labels: &[Label<'_>], value: impl Display) {
        self.line("", labels, None, value);
    }

    pub(crate) fn histogram(&mut self, labels: &[Label<'_>], histogram: &Histogram) {
        let mut total = 0;
        let bounds = histogram.bounds.iter().map(ToString::to_string).chain(["+Inf".to_owned()]);
        for (bound, count) in bounds.zip(&histogram.counts) {
            total += count;
            self.line("_bucket", labels, Some(("le", &bound)), total);
        }
        self.line("_sum", labels, None, histogram.sum);
        self.line("_count", labels, None, total);
    }

    fn line(&mut self, suffix: &str, labels: &[Label<'_>], more: Option<Label<'_>>, value: impl Display) {
        let text = &mut self.page.0;
        text.push_str(self.name);
        text.push_str(suffix);
        for (number, (name, value)) in labels.iter().chain(&more).enumerate() {
            let _ = write!(text, "{}{name}=\"{value}\"", if number == 0 { '{' } else { ',' });
        }
        let _ = writeln!(text, "{} {value}", if labels.is_empty() && more.is_none() { "" } else { "}" });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_histogram_counts_what_took_no_longer_than_each_bound() {
        let mut histogram = Histogram::new(&[0.1, 1.0]);
        for took in [50, 100, 101, 5000] {
            histogram.observe(Duration::from_millis(took));
        }
        let mut page = Exposition::default();
        page.histograms("t_seconds", "Times.").histogram(&[("of", "x")], &histogram);
        page.counter("n_total", "A number.").sample(&[], 7);
        page.gauge("none", "Nothing.");
        assert_eq!(
            page.text(),
            "# HELP t_seconds Times.\n# TYPE t_seconds histogram\n\
             t_seconds_bucket{of=\"x\",le=\"0.1\"} 2\nt_seconds_bucket{of=\"x\",le=\"1\"} 3\n\
             t_seconds_bucket{of=\"x\",le=\"+Inf\"} 4\nt_seconds_sum{of=\"x\"} 5.251\nt_seconds_count{of=\"x\"} 4\n\
             # HELP n_total A number.\n# TYPE n_total counter\nn_total 7\n# HELP none Nothing.\n# TYPE none gauge\n"
        );
    }
}
