//! Results of commands: a table for people, JSON for programs.

use std::io::Write;

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use super::{Exit, Refusal};

/// One result, in both forms.
#[derive(Debug)]
pub struct Shown {
    /// For people: tables and sentences, one after the other.
    pub parts: Vec<Part>,
    /// For programs.
    pub json: Value,
}

/// A part of what people see.
#[derive(Debug)]
pub enum Part {
    /// A line.
    Line(String),
    /// Column names and rows.
    Table(&'static [&'static str], Vec<Vec<String>>),
}

/// Writes a result.
pub fn write(out: &mut dyn Write, shown: &Shown, json: bool) -> Result<(), Refusal> {
    let text = if json { format!("{}\n", shown.json) } else { shown.parts.iter().map(text).collect() };
    put(out, text.as_bytes())
}

/// Writes bytes. A reader that has gone away is no fault.
pub fn put(out: &mut dyn Write, bytes: &[u8]) -> Result<(), Refusal> {
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            Err(Refusal::new(Exit::Done, "the reader went away"))
        }
        written => written.map_err(|error| Refusal::new(Exit::Other, format!("stdout: {error}"))),
    }
}

fn text(part: &Part) -> String {
    match part {
        Part::Line(line) => format!("{}\n", plain(line)),
        Part::Table(names, rows) => {
            let mut table = Table::new();
            table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
            table.set_header(*names).add_rows(rows.iter().map(|row| row.iter().map(|cell| plain(cell))));
            table.column_iter_mut().for_each(|column| {
                column.set_padding((0, 2));
            });
            table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
        }
    }
}

/// Text that a terminal does not obey: names are whatever some client chose.
fn plain(text: &str) -> String {
    escape(text, &[])
}

/// Text without control characters but those that are `kept`.
pub fn escape(text: &str, kept: &[char]) -> String {
    let shown = |char: char| match char.is_control() && !kept.contains(&char) {
        true => char.escape_default().to_string(),
        false => char.to_string(),
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_steer_the_terminal() {
        let name = "a\u{1b}[2J\r\n\u{9b}é";
        let parts = vec![Part::Line(name.into()), Part::Table(&["group"], vec![vec![name.into()]])];
        let mut people = Vec::new();
        write(&mut people, &Shown { parts, json: Value::Null }, false).unwrap();
        let seen = r"a\u{1b}[2J\r\n\u{9b}é";
        assert_eq!(String::from_utf8(people).unwrap(), format!("{seen}\ngroup\n{seen}\n"));
    }

    #[test]
    fn a_table_is_plain_columns() {
        let rows = vec![vec!["orders".into(), "12".into()], vec!["a".into(), "1".into()]];
        let shown = Shown { parts: vec![Part::Table(&["topic", "partitions"], rows)], json: serde_json::json!([1]) };
        let (mut people, mut programs) = (Vec::new(), Vec::new());
        write(&mut people, &shown, false).unwrap();
        write(&mut programs, &shown, true).unwrap();
        assert_eq!(String::from_utf8(people).unwrap(), "topic   partitions\norders  12\na       1\n");
        assert_eq!(programs, b"[1]\n");
    }
}
