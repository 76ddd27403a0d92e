//! Values of engine settings as people write them: sizes, addresses, core lists.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Bytes: a whole number with nothing, `K`, `M`, `G`, `T` or `KiB`, `MiB`, `GiB`, `TiB` behind it (powers of 1,024), or `KB`, `MB`, `GB`, `TB` (of 1,000).
pub(super) fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "" | "B" => 1,
        "K" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        "T" | "TiB" => 1 << 40,
        "KB" | "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// Bytes in the largest unit that divides them.
pub fn show_size(bytes: u64) -> String {
    for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if bytes != 0 && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

/// `NAME=HOST:PORT` or `HOST:PORT`; an IPv6 address stands in brackets.
pub(super) fn address(text: &str) -> Option<(Option<String>, String, u16)> {
    let (name, rest) = match text.split_once('=') {
        Some((name, rest)) => (Some(name), rest),
        None => (None, text),
    };
    if let Some(name) = name {
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || name.len() > 64 || !name.chars().all(legal) {
            return None;
        }
    }
    let (host, port) = rest.rsplit_once(':')?;
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(inside) => {
            inside.parse::<Ipv6Addr>().ok()?;
            inside
        }
        None => host,
    };
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if host.is_empty() || host.len() > 253 || !host.chars().all(legal) {
        return None;
    }
    if host.contains(':') && host.parse::<Ipv6Addr>().is_err() {
        return None;
    }
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((name.map(Into::into), host.into(), port.parse().ok()?))
}

/// Whether clients cannot connect to this host because it stands for all addresses of a machine.
pub(super) fn is_wildcard(host: &str) -> bool {
    host.parse::<Ipv4Addr>().is_ok_and(|host| host.is_unspecified())
        || host.parse::<Ipv6Addr>().is_ok_and(|host| host.is_unspecified())
}

/// CPU numbers as `0,2-5`, in the order given, none twice.
pub(super) fn core_list(text: &str) -> Option<Vec<usize>> {
    let mut cores = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (cpu(first)?, cpu(last)?);
        if first > last {
            return None;
        }
        for core in first..=last {
            if cores.contains(&core) {
                return None;
            }
            cores.push(core);
        }
    }
    Some(cores)
}

fn cpu(text: &str) -> Option<usize> {
    text.trim().parse().ok().filter(|cpu| *cpu < CPUS_MAX)
}

/// CPU numbers end below this (the kernel's own `CPU_SETSIZE` is 1,024).
pub(super) const CPUS_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [("0", 0), ("4096", 4096), ("64M", 64 << 20), ("1 GiB", 1 << 30), ("2GB", 2_000_000_000)] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in ["", "M", "-1", "1.5G", "1m", "99999999T", "1 GiBs"] {
            assert_eq!(size(text), None, "{text}");
        }
        for bytes in [0, 1, 1023, 1 << 10, 3 << 20, 5 << 30, 1536] {
            assert_eq!(size(&show_size(bytes)), Some(bytes));
        }
    }

    #[test]
    fn addresses() {
        assert_eq!(address("127.0.0.1:9092"), Some((None, "127.0.0.1".into(), 9092)));
        assert_eq!(address("IN-1=[::1]:0"), Some((Some("IN-1".into()), "::1".into(), 0)));
        assert_eq!(address("broker.example:29092"), Some((None, "broker.example".into(), 29092)));
        for text in
            ["", ":1", "h", "h:", "h:x", "h:65536", "h:+1", "=h:1", "a b=h:1", "::1:9092x", "[::g]:1", "h h:1", "1:2:3"]
        {
            assert_eq!(address(text), None, "{text}");
        }
        assert!(is_wildcard("0.0.0.0") && is_wildcard("::") && !is_wildcard("10.0.0.1") && !is_wildcard("h"));
    }

    #[test]
    fn core_lists() {
        assert_eq!(core_list("0,2-4"), Some(vec![0, 2, 3, 4]));
        assert_eq!(core_list("3"), Some(vec![3]));
        for text in ["", ",", "1,1", "4-2", "0-1,1", "x", "0-9999999999", "1024"] {
            assert_eq!(core_list(text), None, "{text}");
        }
    }
}
