//! Sizes and durations as people write them: `64KiB`, `1GiB`, `200MB`, `5s`, `250ms`.

use std::{fmt, str::FromStr, time::Duration};

/// A number of bytes. `KiB`, `MiB`, `GiB` are powers of 1,024; `KB`, `MB`, `GB` powers of 1,000; without a unit it is bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = split(text)?;
        let scale = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1.0,
            "kib" | "k" => 1024.0,
            "mib" | "m" => 1_048_576.0,
            "gib" | "g" => 1_073_741_824.0,
            "kb" => 1e3,
            "mb" => 1e6,
            "gb" => 1e9,
            _ => return Err(format!("`{unit}` is not a unit of size; use KiB, MiB, GiB, KB, MB or GB")),
        };
        Ok(Size((number * scale) as u64))
    }
}

/// How long a phase lasts: by the clock, or until so many bytes were acknowledged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Span {
    /// By the clock.
    Time(Duration),
    /// By acknowledged (or fetched) bytes.
    Bytes(u64),
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = split(text)?;
        match unit {
            "s" => Ok(Span::Time(Duration::from_secs_f64(number))),
            "ms" => Ok(Span::Time(Duration::from_secs_f64(number / 1e3))),
            "" => Err("a unit is needed: `5s`, `500ms` or `4GiB`".into()),
            _ => text.parse::<Size>().map(|size| Span::Bytes(size.0)),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Span::Time(time) => write!(f, "{time:?}"),
            Span::Bytes(bytes) if bytes % (1 << 20) == 0 => write!(f, "{} MiB", bytes >> 20),
            Span::Bytes(bytes) => write!(f, "{bytes} bytes"),
        }
    }
}

fn split(text: &str) -> Result<(f64, &str), String> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number = text[..end].parse::<f64>().map_err(|_| format!("`{text}` does not start with a number"))?;
    Ok((number, text[end..].trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_spans_read_as_written() {
        assert_eq!("64KiB".parse(), Ok(Size(65_536)));
        assert_eq!("1.5 GB".parse(), Ok(Size(1_500_000_000)));
        assert_eq!("4096".parse(), Ok(Size(4096)));
        assert_eq!("250ms".parse(), Ok(Span::Time(Duration::from_millis(250))));
        assert_eq!("2GiB".parse(), Ok(Span::Bytes(2 << 30)));
        assert!("12".parse::<Span>().is_err());
        assert!("5 parsecs".parse::<Size>().is_err());
    }
}
