//! A file in pieces of whole records.

use std::io::{self, BufRead, BufReader, Read};

use bytes::Bytes;

use super::transfer::FormatName;

/// Lines of one part.
const LINES: u64 = 20_000;
/// Bytes of one part.
const BYTES: usize = 8 << 20;
/// The most bytes of a head that is looked at.
const HEAD: u64 = 1_024;

/// Lines of a file that go together.
pub(super) struct Piece {
    pub(super) text: Bytes,
    pub(super) first_line: u64,
    pub(super) lines: u64,
    /// Whether widgets may be joined on any of the lines of a file that has lines of both kinds.
    pub(super) joins: bool,
}

impl Piece {
    pub(super) const fn last_line(&self) -> u64 {
        self.first_line + self.lines - 1
    }
}

/// Reads the first line of a file.
pub(super) fn head(file: impl Read) -> io::Result<String> {
    let mut head = Vec::new();
    BufReader::new(file.take(HEAD)).read_until(b'\n', &mut head)?;
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// Reads the next piece, whose first line has this number.
pub(super) fn next(
    reader: &mut impl BufRead,
    format: FormatName,
    first_line: u64,
) -> io::Result<Option<Piece>> {
    let (mut text, mut lines, mut record) = (String::new(), 0, 0);
    // A record that goes over several lines is not cut.
    while record < text.len() || (lines < LINES && text.len() < BYTES) {
        if reader.read_line(&mut text)? == 0 {
            break;
        }
        lines += 1;
        match format {
            FormatName::Jsonl => record = text.len(),
            FormatName::Csv => {
                while record < text.len()
                    && let Some(length) = inventory::first_record(&text[record..])
                {
                    record += length;
                }
            }
        }
    }
    Ok((lines > 0).then(|| Piece {
        joins: text.contains("\"first\""),
        text: Bytes::from(text),
        first_line,
        lines,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_not_cut() {
        let mut text = "a,n,P\n".repeat(LINES as usize - 1);
        text.push_str("\"one\ntwo\nthree\",n,P\nlast,n,P\n");
        let mut reader = text.as_bytes();
        let first = next(&mut reader, FormatName::Csv, 1).unwrap().unwrap();
        assert!(first.text.ends_with(b"three\",n,P\n"));
        assert_eq!(first.last_line(), LINES + 2);
        let second = next(&mut reader, FormatName::Csv, LINES + 3).unwrap();
        assert_eq!(&*second.unwrap().text, b"last,n,P\n");
        assert!(next(&mut reader, FormatName::Csv, 1).unwrap().is_none());
    }

    #[test]
    fn a_quote_that_is_never_closed_does_not_read_the_file_whole() {
        let text = format!("\"a,n,P\n{}", "b,n,P\n".repeat(3 * LINES as usize));
        let first = next(&mut text.as_bytes(), FormatName::Csv, 1);
        assert_eq!(first.unwrap().unwrap().lines, LINES);
    }
}
