//! `coretide produce` and `coretide consume`.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::{Value, json};

use super::{To, pair};
use crate::cli::show::{escape, put};
use crate::cli::time::parse_time;
use crate::cli::{Exit, Refusal};
use crate::client::{Client, ClientError, FetchedRecord, ToSend, When, partition_of_key};
use crate::protocol::ErrorCode;
use crate::record::Codec;

/// Records of a batch at most.
const BATCH_RECORDS_MAX: usize = 1000;
/// Bytes of a batch, about, at most.
const BATCH_BYTES_MAX: usize = 256 << 10;
/// How long a fetch waits for records when there are none.
const FETCH_WAIT: Duration = Duration::from_millis(500);

/// Flags of `produce`.
#[derive(Args, Debug)]
pub struct Produce {
    /// The topic. It is not made by this
    topic: String,
    /// Send everything to this partition [default: by key as Kafka's producers do; without a key each batch to the next one]
    #[arg(long, short, value_name = "N")]
    partition: Option<i32>,
    /// What stands between key and value on a line [default: lines have no key]
    #[arg(long, short, value_name = "TEXT")]
    key_separator: Option<String>,
    /// A header for every record; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    header: Vec<(String, String)>,
    /// How batches are compressed
    #[arg(long, short, value_name = "CODEC", default_value = "none", value_parser = codec)]
    compression: Codec,
    #[command(flatten)]
    to: To,
}

fn codec(text: &str) -> Result<Codec, String> {
    match text {
        "none" => Ok(Codec::None),
        "gzip" => Ok(Codec::Gzip),
        "snappy" => Ok(Codec::Snappy),
        "lz4" => Ok(Codec::Lz4),
        "zstd" => Ok(Codec::Zstd),
        _ => Err(format!("{text:?} is not none, gzip, snappy, lz4 or zstd")),
    }
}

/// Flags of `consume`.
#[derive(Args, Debug)]
pub struct Consume {
    /// The topic
    topic: String,
    /// Only these partitions
    #[arg(long, short, value_name = "N", value_delimiter = ',')]
    partition: Vec<i32>,
    /// Where to begin: start, end, an offset, -N for the last N of each partition, or a time as 2026-11-26T20:00:00Z
    #[arg(long, value_name = "WHERE", default_value = "end", value_parser = place, allow_hyphen_values = true)]
    from: Place,
    /// End after so many records
    #[arg(long, short = 'n', value_name = "N")]
    count: Option<u64>,
    /// End at the end of what was there at the beginning
    #[arg(long, short)]
    exit_at_end: bool,
    /// Print partition, offset, timestamp and key before each value
    #[arg(long, short)]
    verbose: bool,
    #[command(flatten)]
    to: To,
}

/// Where to begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// At the first, or behind the last, or by time.
    When(When),
    /// At an offset.
    Offset(i64),
    /// So many before the end.
    Last(i64),
}

fn place(text: &str) -> Result<Place, String> {
    match (text, text.parse::<i64>()) {
        ("start", _) => Ok(Place::When(When::Start)),
        ("end", _) => Ok(Place::When(When::End)),
        (_, Ok(number @ 0..)) => Ok(Place::Offset(number)),
        (_, Ok(number)) => Ok(Place::Last(number.saturating_neg())),
        _ => parse_time(text)
            .map(|time| Place::When(When::Time(time)))
            .map_err(|_| format!("{text:?} is not start, end, an offset, -N or a time as 2026-11-26T20:00:00Z")),
    }
}

/// Sends lines. What stands ready on the input goes out as one batch per partition; a lone line goes out at once.
pub(super) fn produce(produce: &Produce, input: &mut BufReader<impl Read>, out: &mut dyn Write) -> Result<(), Refusal> {
    let mut client = produce.to.connect()?;
    let partitions = client.leaders(&produce.topic)?.len();
    if partitions == 0 {
        return Err(Refusal::new(Exit::Usage, format!("topic {:?} has no partitions", produce.topic)));
    }
    let mut sent = 0;
    let done = send_lines(&mut client, produce, partitions, input, &mut sent, out);
    done.map_err(|refusal| {
        let what = format!("{}; {sent} records were acknowledged before", refusal.what);
        Refusal::new(refusal.exit, what)
    })?;
    if !produce.to.json {
        eprintln!("{sent} records acknowledged");
    }
    Ok(())
}

fn send_lines(
    client: &mut Client,
    produce: &Produce,
    partitions: usize,
    input: &mut BufReader<impl Read>,
    sent: &mut usize,
    out: &mut dyn Write,
) -> Result<(), Refusal> {
    let headers: Vec<_> = produce.header.iter().map(|(key, value)| (key.clone(), value.clone().into_bytes())).collect();
    let mut batches: Vec<Vec<ToSend>> = vec![Vec::new(); partitions];
    let (mut records, mut bytes, mut turn, mut line) = (0, 0, 0, Vec::new());
    loop {
        line.clear();
        let read = input.read_until(b'\n', &mut line);
        let read = read.map_err(|error| Refusal::new(Exit::Other, format!("standard input: {error}")))?;
        if read > 0 {
            if line.last() == Some(&b'\n') {
                line.pop();
            }
            let (key, value) = split(&line, produce.key_separator.as_deref());
            let partition = match (produce.partition, &key) {
                (Some(partition), _) => usize::try_from(partition).ok().filter(|chosen| *chosen < partitions),
                (None, Some(key)) => Some(partition_of_key(key, partitions)),
                (None, None) => Some(turn % partitions),
            };
            let partition = partition.ok_or_else(|| {
                Refusal::new(Exit::Usage, format!("topic {:?} has partitions 0 to {}", produce.topic, partitions - 1))
            })?;
            records += 1;
            bytes += line.len();
            batches[partition].push(ToSend { timestamp: now(), key, value: Some(value), headers: headers.clone() });
        }
        // Only what is there already: asking for more would wait for it.
        let more = read > 0 && input.buffer().contains(&b'\n');
        if more && records < BATCH_RECORDS_MAX && bytes < BATCH_BYTES_MAX {
            continue;
        }
        for (partition, batch) in (0..).zip(&mut batches) {
            if !batch.is_empty() {
                send(client, produce, partition, batch, sent, out)?;
                batch.clear();
            }
        }
        (records, bytes, turn) = (0, 0, turn + 1);
        if read == 0 {
            return Ok(());
        }
    }
}

/// Milliseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Sends records in their order. As Kafka's producer does, a batch that is too large for the topic goes out in halves.
fn send(
    client: &mut Client,
    produce: &Produce,
    partition: i32,
    batch: &[ToSend],
    sent: &mut usize,
    out: &mut dyn Write,
) -> Result<(), Refusal> {
    let offset = match client.produce(&produce.topic, partition, produce.compression, batch) {
        Err(ClientError::Refused { code, .. }) if code == ErrorCode::MessageTooLarge.code() && batch.len() > 1 => {
            let (first, second) = batch.split_at(batch.len() / 2);
            send(client, produce, partition, first, sent, out)?;
            return send(client, produce, partition, second, sent, out);
        }
        done => done?,
    };
    *sent += batch.len();
    if produce.to.json {
        let line = json!({ "partition": partition, "offset": offset, "records": batch.len() });
        put(out, format!("{line}\n").as_bytes())?;
    }
    Ok(())
}

/// Key and value of a line.
fn split(line: &[u8], separator: Option<&str>) -> (Option<Vec<u8>>, Vec<u8>) {
    let at = separator.filter(|text| !text.is_empty()).and_then(|text| {
        let at = line.windows(text.len()).position(|window| window == text.as_bytes())?;
        Some((at, at + text.len()))
    });
    match at {
        Some((end, next)) => (Some(line[..end].to_vec()), line[next..].to_vec()),
        None => (None, line.to_vec()),
    }
}

/// Prints records as they come.
pub(super) fn consume(consume: &Consume, out: &mut dyn Write) -> Result<(), Refusal> {
    let mut client = consume.to.connect()?;
    let mut partitions = consume.partition.clone();
    partitions.sort_unstable();
    partitions.dedup();
    if partitions.is_empty() {
        partitions = (0..).take(client.leaders(&consume.topic)?.len()).collect();
    }
    let starts = client.offsets(&consume.topic, &partitions, When::Start)?;
    let ends = client.offsets(&consume.topic, &partitions, When::End)?;
    let from = match consume.from {
        Place::When(When::Start) => starts.clone(),
        Place::When(When::End) => ends.clone(),
        Place::When(time) => client.offsets(&consume.topic, &partitions, time)?,
        Place::Offset(offset) => vec![offset; partitions.len()],
        Place::Last(count) => starts.iter().zip(&ends).map(|(start, end)| (end - count).max(*start)).collect(),
    };
    let mut next: Vec<(i32, i64)> = partitions.iter().copied().zip(from).collect();
    let mut left = consume.count.unwrap_or(u64::MAX);
    let terminal = io::stdout().is_terminal();
    loop {
        if consume.exit_at_end {
            let ended =
                |partition: i32, at: i64| partitions.iter().zip(&ends).any(|(of, end)| *of == partition && at >= *end);
            next.retain(|&(partition, at)| !ended(partition, at));
        }
        if next.is_empty() || left == 0 {
            return Ok(());
        }
        for fetched in client.fetch(&consume.topic, &next, FETCH_WAIT)? {
            let mut text = Vec::new();
            for record in fetched.records.iter().take(usize::try_from(left).unwrap_or(usize::MAX)) {
                show(&mut text, fetched.partition, record, consume, terminal);
                left -= 1;
            }
            put(out, &text)?;
            if let Some((_, at)) = next.iter_mut().find(|(partition, _)| *partition == fetched.partition) {
                *at = fetched.next;
            }
        }
    }
}

/// Appends one record as it is shown.
fn show(text: &mut Vec<u8>, partition: i32, record: &FetchedRecord, consume: &Consume, terminal: bool) {
    if consume.to.json {
        let headers: Vec<_> =
            record.headers.iter().map(|(key, value)| json!({ "key": key, "value": bytes(value.as_deref()) })).collect();
        let line = json!({
            "partition": partition, "offset": record.offset, "timestamp": record.timestamp,
            "key": bytes(record.key.as_deref()), "value": bytes(record.value.as_deref()), "headers": headers,
        });
        text.extend_from_slice(format!("{line}\n").as_bytes());
        return;
    }
    if consume.verbose {
        text.extend_from_slice(format!("{partition}:{} {} ", record.offset, record.timestamp).as_bytes());
        text.extend_from_slice(&raw(record.key.as_deref().unwrap_or(b"-"), terminal));
        text.push(b' ');
    }
    let none: &[u8] = if consume.verbose { b"(null)" } else { b"" };
    text.extend_from_slice(&raw(record.value.as_deref().unwrap_or(none), terminal));
    text.push(b'\n');
}

/// Bytes as they are, but nothing that a terminal would obey: records hold whatever some client sent.
fn raw(bytes: &[u8], terminal: bool) -> Cow<'_, [u8]> {
    if !terminal {
        return Cow::Borrowed(bytes);
    }
    Cow::Owned(escape(&String::from_utf8_lossy(bytes), &['\n', '\t']).into_bytes())
}

/// Text as it is; anything else as `{"hex": "..."}`.
fn bytes(bytes: Option<&[u8]>) -> Value {
    match bytes.map(|bytes| (std::str::from_utf8(bytes), bytes)) {
        None => Value::Null,
        Some((Ok(text), _)) => text.into(),
        Some((Err(_), bytes)) => json!({ "hex": bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_at_the_first_separator() {
        assert_eq!(split(b"a:b:c", Some(":")), (Some(b"a".to_vec()), b"b:c".to_vec()));
        assert_eq!(split(b"ab", Some("::")), (None, b"ab".to_vec()));
        assert_eq!(split(b"a:b", None), (None, b"a:b".to_vec()));
        assert_eq!(split(b"a", Some("")), (None, b"a".to_vec()));
    }

    #[test]
    fn a_beginning_has_many_forms() {
        assert_eq!(place("start"), Ok(Place::When(When::Start)));
        assert_eq!(place("0"), Ok(Place::Offset(0)));
        assert_eq!(place("-5"), Ok(Place::Last(5)));
        assert_eq!(place("1970-01-01T00:00:01Z"), Ok(Place::When(When::Time(1000))));
        assert!(place("soon").is_err());
    }

    #[test]
    fn a_record_cannot_steer_the_terminal() {
        let value = b"a\tb\n\x1b[2Jc\xff\r\n";
        assert_eq!(raw(value, false), &value[..]);
        assert_eq!(raw(value, true), "a\tb\n\\u{1b}[2Jc\u{fffd}\\r\n".as_bytes());
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_as_numbers() {
        assert_eq!(bytes(None), Value::Null);
        assert_eq!(bytes(Some(b"a")), json!("a"));
        assert_eq!(bytes(Some(&[0xff, 0])), json!({ "hex": "ff00" }));
    }
}
