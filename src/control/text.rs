//! The text format of Prometheus, version 0.0.4: families of series, each with its help and its type.

use std::fmt::{Display, Write};

use crate::base::Times;

/// The content type of the page.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What kind of number a family has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Only grows, until the process ends.
    Counter,
    /// What is now.
    Gauge,
}

/// A page under way.
#[derive(Default)]
pub(super) struct Text(String);

impl Text {
    /// A family with one series without labels.
    pub(super) fn one(&mut self, kind: Kind, name: &str, help: &str, value: impl Display) {
        self.family(kind, name, help, [([], value)]);
    }

    /// A family: for each series its labels and its value.
    pub(super) fn family<'a, const N: usize, V: Display>(
        &mut self,
        kind: Kind,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = ([(&'a str, &'a str); N], V)>,
    ) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        self.head(kind, name, help);
        for (labels, value) in series {
            self.series(name, &labels, value);
        }
    }

    /// A family of histograms, in seconds.
    pub(super) fn histograms<'a, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = ([(&'a str, &'a str); N], &'a Times)>,
    ) {
        self.head("histogram", name, help);
        let (buckets, sum, count) = (format!("{name}_bucket"), format!("{name}_sum"), format!("{name}_count"));
        for (labels, times) in series {
            for (longest, at_most) in times.at_most() {
                let le = longest.as_secs_f64().to_string();
                self.series(&buckets, &[&labels[..], &[("le", le.as_str())]].concat(), at_most);
            }
            self.series(&buckets, &[&labels[..], &[("le", "+Inf")]].concat(), times.count());
            self.series(&sum, &labels, times.sum().as_secs_f64());
            self.series(&count, &labels, times.count());
        }
    }

    /// The page.
    pub(super) fn finish(self) -> String {
        self.0
    }

    fn head(&mut self, kind: &str, name: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn series(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            self.0.push(if at == 0 { '{' } else { ',' });
            let _ = write!(self.0, "{label}=\"");
            for c in text.chars() {
                match c {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    c => self.0.push(c),
                }
            }
            self.0.push('"');
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn families_have_help_type_and_series() {
        let mut text = Text::default();
        text.one(Kind::Gauge, "a_bytes", "What a holds.", 7);
        text.family(Kind::Counter, "b_total", "B.", [([("x", "1"), ("y", "2")], 3), ([("x", "4"), ("y", "")], 5)]);
        text.family(Kind::Counter, "c_total", "Nothing yet.", [] as [([(&str, &str); 1], u64); 0]);
        assert_eq!(
            text.finish(),
            "# HELP a_bytes What a holds.\n# TYPE a_bytes gauge\na_bytes 7\n\
             # HELP b_total B.\n# TYPE b_total counter\nb_total{x=\"1\",y=\"2\"} 3\nb_total{x=\"4\",y=\"\"} 5\n\
             # HELP c_total Nothing yet.\n# TYPE c_total counter\n"
        );
    }

    /// A client chooses the name of its group, and must not be able to write series of its own.
    #[test]
    fn a_label_cannot_end_its_line() {
        let mut text = Text::default();
        text.family(Kind::Gauge, "a", "A.", [([("group", "g\"} 1\nb{x=\"\\")], 1)]);
        let page = text.finish();
        assert!(page.ends_with("a{group=\"g\\\"} 1\\nb{x=\\\"\\\\\"} 1\n"), "{page}");
        assert_eq!(page.lines().count(), 3);
    }

    #[test]
    fn histograms_count_upwards_to_all() {
        let mut times = Times::default();
        [50, 200, 20_000_000].into_iter().for_each(|us| times.add(Duration::from_micros(us)));
        let mut text = Text::default();
        text.histograms("t_seconds", "T.", [([("class", "x")], &times)]);
        let page = text.finish();
        for line in [
            "# TYPE t_seconds histogram",
            "t_seconds_bucket{class=\"x\",le=\"0.0001\"} 1",
            "t_seconds_bucket{class=\"x\",le=\"0.00025\"} 2",
            "t_seconds_bucket{class=\"x\",le=\"10\"} 2",
            "t_seconds_bucket{class=\"x\",le=\"+Inf\"} 3",
            "t_seconds_sum{class=\"x\"} 20.00025",
            "t_seconds_count{class=\"x\"} 3",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
        }
    }
}
