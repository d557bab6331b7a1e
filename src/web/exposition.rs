//! The text format of Prometheus, version 0.0.4: <https://prometheus.io/docs/instrumenting/exposition_formats/>.
use crate::engine::meters::Histogram;
use std::fmt::Write;

/// What the text is, for the header.
pub(super) const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One metric with all its samples.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// What it says, in a sentence.
    pub help: &'static str,
}

/// The text in the making.
#[derive(Debug, Default)]
pub(super) struct Exposition(String);

/// A label and its value.
pub(super) type Label<'a> = (&'a str, &'a str);

impl Exposition {
    /// Begins a metric: its samples follow. One without samples is announced all the same.
    pub(super) fn family(&mut self, it: &Family) {
        let _ = writeln!(self.0, "# HELP {} {}", it.name, it.help.replace('\\', "\\\\").replace('\n', "\\n"));
        let _ = writeln!(self.0, "# TYPE {} {}", it.name, it.kind);
    }

    pub(super) fn sample(&mut self, it: &Family, labels: &[Label<'_>], value: f64) {
        self.line(it.name, "", labels, value);
    }

    /// A histogram in seconds.
    pub(super) fn histogram(&mut self, it: &Family, labels: &[Label<'_>], of: &Histogram) {
        let mut so_far = 0;
        for (bound, count) in of.bounds.iter().zip(&of.counts) {
            so_far += count;
            let le = seconds(*bound).to_string();
            self.line(it.name, "_bucket", &with_le(labels, &le), number(so_far));
        }
        self.line(it.name, "_bucket", &with_le(labels, "+Inf"), number(of.count));
        self.line(it.name, "_sum", labels, seconds(of.sum));
        self.line(it.name, "_count", labels, number(of.count));
    }

    pub(super) fn into_text(self) -> String {
        self.0
    }

    fn line(&mut self, name: &str, suffix: &str, labels: &[Label<'_>], value: f64) {
        let labels: Vec<_> = labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{suffix}{labels} {value}");
    }
}

/// Milliseconds as seconds.
#[expect(clippy::cast_precision_loss, reason = "a duration of more than 2^53 ms is none")]
pub(super) fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

/// A count. The format knows floating point only.
#[expect(clippy::cast_precision_loss, reason = "counts stay below 2^53")]
pub(super) fn number(count: u64) -> f64 {
    count as f64
}

fn with_le<'a>(labels: &[Label<'a>], le: &'a str) -> Vec<Label<'a>> {
    labels.iter().copied().chain([("le", le)]).collect()
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAUGE: Family = Family { name: "a_gauge", kind: "gauge", help: "Says \\ much.\nMore." };
    const TIMES: Family = Family { name: "a_time_seconds", kind: "histogram", help: "Time." };

    #[test]
    fn what_would_end_a_label_or_a_line_is_escaped() {
        let mut text = Exposition::default();
        text.family(&GAUGE);
        text.sample(&GAUGE, &[("a", "x\"y\\z\nw"), ("b", "ü")], 1.5);
        let want = "# HELP a_gauge Says \\\\ much.\\nMore.\n# TYPE a_gauge gauge\n\
                    a_gauge{a=\"x\\\"y\\\\z\\nw\",b=\"ü\"} 1.5\n";
        assert_eq!(text.into_text(), want);
    }

    #[test]
    fn the_buckets_of_a_histogram_add_up() {
        let mut text = Exposition::default();
        let of = Histogram { bounds: &[10, 1500], counts: vec![1, 2], count: 4, sum: 9000 };
        text.histogram(&TIMES, &[("phase", "create")], &of);
        let want = "a_time_seconds_bucket{phase=\"create\",le=\"0.01\"} 1\n\
                    a_time_seconds_bucket{phase=\"create\",le=\"1.5\"} 3\n\
                    a_time_seconds_bucket{phase=\"create\",le=\"+Inf\"} 4\n\
                    a_time_seconds_sum{phase=\"create\"} 9\na_time_seconds_count{phase=\"create\"} 4\n";
        assert_eq!(text.into_text(), want);
    }
}
