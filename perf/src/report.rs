//! What a run measured, as a table for people and as JSON for scripts.

use std::fmt::Write;

use hdrhistogram::Histogram;

use crate::procfs::Usage;

/// What was measured between the end of the warm-up and the end of the run.
pub struct Run {
    /// How long it took.
    pub seconds: f64,
    /// Bytes of batches acknowledged (or fetched).
    pub bytes: u64,
    /// Requests answered.
    pub requests: u64,
    /// Nanoseconds per request.
    pub latency: Histogram<u64>,
    /// CPU time of the load generator.
    pub own_cpu: std::time::Duration,
    /// What the broker used, if its process was named.
    pub broker: Option<Usage>,
    /// What the whole machine used.
    pub machine_cpu: std::time::Duration,
}

impl Run {
    /// Millions of bytes a second.
    pub fn mb_per_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.seconds
    }
    /// Requests a second.
    pub fn requests_per_second(&self) -> f64 {
        self.requests as f64 / self.seconds
    }
    /// Milliseconds at a quantile between 0 and 1.
    pub fn ms(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1e6
    }
    /// CPU seconds of the load generator per 10^9 bytes.
    pub fn own_cpu_per_gb(&self) -> f64 {
        self.own_cpu.as_secs_f64() / (self.bytes as f64 / 1e9)
    }
    /// CPU seconds of the broker per 10^9 bytes.
    pub fn broker_cpu_per_gb(&self) -> Option<f64> {
        self.broker.map(|used| used.cpu.as_secs_f64() / (self.bytes as f64 / 1e9))
    }
    /// Context switches of the broker per request.
    pub fn broker_switches(&self) -> Option<f64> {
        self.broker.map(|used| used.switches as f64 / self.requests as f64)
    }

    /// How many cores were busy with neither the load nor the broker: kernel threads that work for them, and whatever else runs here and
    /// spoils the figures. Unknown without the broker's process.
    pub fn elsewhere(&self) -> Option<f64> {
        let ours = self.own_cpu + self.broker?.cpu;
        Some(self.machine_cpu.saturating_sub(ours).as_secs_f64() / self.seconds)
    }

    /// Name, value and unit of all that was measured, in reading order. What was not measured is left out.
    pub fn figures(&self) -> Vec<(&'static str, f64, &'static str)> {
        let mut figures = vec![
            ("rate", self.mb_per_second(), "MB/s"),
            ("requests", self.requests_per_second(), "1/s"),
            ("p50", self.ms(0.5), "ms"),
            ("p90", self.ms(0.9), "ms"),
            ("p99", self.ms(0.99), "ms"),
            ("p99.9", self.ms(0.999), "ms"),
            ("max", self.latency.max() as f64 / 1e6, "ms"),
            ("load_cpu", self.own_cpu_per_gb(), "s/GB"),
        ];
        if let (Some(cpu), Some(switches)) = (self.broker_cpu_per_gb(), self.broker_switches()) {
            figures.push(("broker_cpu", cpu, "s/GB"));
            figures.push(("broker_switches", switches, "1/request"));
        }
        if let Some(elsewhere) = self.elsewhere() {
            figures.push(("elsewhere", elsewhere, "cores"));
        }
        figures.push(("seconds", self.seconds, "s"));
        figures.push(("bytes", self.bytes as f64, "B"));
        figures
    }

    /// Two lines: headings with units, and values.
    pub fn table(&self) -> String {
        let (mut head, mut body) = (String::new(), String::new());
        for (name, value, unit) in self.figures() {
            let title = format!("{name} {unit}");
            let shown = number(value);
            let width = title.len().max(shown.len()) + 2;
            let _ = write!(head, "{title:>width$}");
            let _ = write!(body, "{shown:>width$}");
        }
        format!("{head}\n{body}")
    }

    /// One JSON object; the names carry no unit, units are those of [`Run::figures`].
    pub fn json(&self) -> String {
        let fields: Vec<String> =
            self.figures().iter().map(|(name, value, _)| format!("\"{name}\": {}", finite(*value))).collect();
        format!("{{{}}}", fields.join(", "))
    }
}

/// A number with about four significant digits.
pub fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// The value in the middle; of an even number the mean of the two. NaN of none.
pub fn median(mut values: Vec<f64>) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

/// JSON has no NaN: a division by zero requests is shown as null.
fn finite(value: f64) -> String {
    if value.is_finite() { format!("{value}") } else { "null".into() }
}
