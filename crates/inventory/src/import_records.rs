//! Where the records of an import end: a line each; as comma-separated values (RFC 4180) one goes on where a quoted value has a line
//! break in it.

use std::iter;

use crate::import_lines::Format;

/// The most bytes of a record of comma-separated values: the longest serial number and the longest name take less, however they are
/// quoted.
const LONGEST_RECORD: usize = 8 * 1024;

/// Where in a record a character stands.
#[derive(Clone, Copy)]
enum Place {
    /// At the beginning of a value.
    Begin,
    /// In a value without quotes.
    Plain,
    /// In a quoted value.
    Quoted,
    /// Behind a quote in a quoted value: its end, unless another one follows.
    Closed,
}

/// Returns how many bytes the first record of comma-separated values takes, with its line break; nothing when the text ends within a
/// quoted value.
///
/// What is no record ends with its line, so that a quote too many costs one line and not the rest of the file.
pub fn first_record(text: &str) -> Option<usize> {
    let mut place = Place::Begin;
    for (index, byte) in text.bytes().enumerate().take(LONGEST_RECORD) {
        place = match (place, byte) {
            (Place::Quoted, b'"') | (Place::Closed, b'\r') => Place::Closed,
            (Place::Quoted, _) | (Place::Begin | Place::Closed, b'"') => Place::Quoted,
            (_, b'\n') => return Some(index + 1),
            (_, b',') => Place::Begin,
            (Place::Closed, _) => return Some(first_line(text)),
            (Place::Begin | Place::Plain, _) => Place::Plain,
        };
    }
    if text.len() > LONGEST_RECORD {
        return Some(first_line(text));
    }
    (!matches!(place, Place::Quoted)).then_some(text.len())
}

/// Returns how many bytes the first line takes, with its line break.
fn first_line(text: &str) -> usize {
    text.find('\n').map_or(text.len(), |end| end + 1)
}

/// Lists the records of a text, each with the number of the line where it begins.
pub(crate) fn records(
    text: &str,
    format: Format,
    first_number: u64,
) -> impl Iterator<Item = (u64, &str)> {
    let (mut rest, mut number) = (text, first_number);
    iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let length = match format {
            Format::Jsonl => first_line(rest),
            Format::Csv => first_record(rest).unwrap_or_else(|| first_line(rest)),
        };
        let (record, after) = rest.split_at(length);
        let found = (number, record);
        let lines = record.bytes().filter(|byte| *byte == b'\n').count();
        (rest, number) = (after, number + lines as u64);
        Some(found)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn csv(text: &str) -> Vec<(u64, &str)> {
        records(text, Format::Csv, 1).collect()
    }

    #[test]
    fn quoted_values_go_over_lines() {
        assert_eq!(
            csv("a,b,P\r\n\"x\ny\",\"say \"\"\r\nhi\"\"\",Q\n\n\"c\",d,R"),
            [
                (1, "a,b,P\r\n"),
                (2, "\"x\ny\",\"say \"\"\r\nhi\"\"\",Q\n"),
                (5, "\n"),
                (6, "\"c\",d,R")
            ]
        );
        assert_eq!(first_record("\"a\n"), None);
        assert_eq!(first_record("\"a\"\"\n"), None);
        // A quote within a value without quotes opens nothing.
        assert_eq!(csv("5\" disk,n,P\nb,n,P\n").len(), 2);
    }

    #[test]
    fn a_quote_too_many_costs_one_line() {
        assert_eq!(
            csv("\"a,n,P\n\"b,1\",n,P\nc,n,P\n"),
            [(1, "\"a,n,P\n"), (2, "\"b,1\",n,P\n"), (3, "c,n,P\n")]
        );
        // To the end of the text, and beyond the longest record.
        assert_eq!(csv("\"a,n,P\nb,n,P\n").len(), 2);
        let rest = "b,n,P\n".repeat(5_000);
        let text = format!("\"a,n,P\n{rest}");
        assert_eq!(first_record(&text), Some(7));
        assert_eq!(csv(&text).len(), 5_001);
    }
}
