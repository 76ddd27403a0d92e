//! Times as people write them.

/// Milliseconds since 1970 of `2026-11-26T20:00:00Z`, `2026-11-26 20:00`, `2026-11-26` (all UTC), or of a number that says it already.
pub fn parse_time(text: &str) -> Result<i64, String> {
    if let Ok(ms) = text.parse::<i64>() {
        return Ok(ms);
    }
    parse_date(text).ok_or_else(|| format!("{text:?} is neither 2026-11-26T20:00:00Z nor milliseconds since 1970"))
}

fn parse_date(text: &str) -> Option<i64> {
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00:00"));
    let mut date = date.splitn(3, '-');
    let (year, month, day) = (number(date.next()?)?, number(date.next()?)?, number(date.next()?)?);
    let mut time = time.splitn(3, ':');
    let (hour, minute) = (number(time.next()?)?, number(time.next()?)?);
    let second = time.next().map_or(Some(0), number)?;
    let sound = (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    if !sound || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let years = (1970..year).map(|year| if is_leap(year) { 366 } else { 365 }).sum::<i64>();
    let days = years + (1..month).map(|month| days_in(year, month)).sum::<i64>() + day - 1;
    Some(((days * 24 + hour) * 60 + minute) * 60_000 + second * 1000)
}

fn number(text: &str) -> Option<i64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_utc() {
        assert_eq!(parse_time("1764187200000"), Ok(1_764_187_200_000));
        assert_eq!(parse_time("2025-11-26T20:00:00Z"), Ok(1_764_187_200_000));
        assert_eq!(parse_time("2025-11-26 20:00"), Ok(1_764_187_200_000));
        assert_eq!(parse_time("1970-01-01"), Ok(0));
        assert_eq!(parse_time("2000-02-29"), Ok(951_782_400_000));
        for wrong in ["", "yesterday", "2025-02-29", "2025-13-01", "2025-11-26T24:00:00Z", "2025-11", "1969-12-31"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }
}
