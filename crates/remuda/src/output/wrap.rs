//! Paragraphs that stay within the terminal, with what follows the first line set in.

use std::io::{self, IsTerminal as _};

use comfy_table::Table;

/// Lines narrower than this would hold too little to be read.
const NARROWEST: usize = 40;

/// Breaks `text` between words so that lines fit the terminal behind an indent of `indent` columns. A pipe has no width:
/// the text stays one line.
pub(crate) fn wrapped(text: &str, indent: usize) -> Vec<String> {
    broken(text, terminal_width().saturating_sub(indent).max(NARROWEST))
}

/// Returns the columns of the terminal that is written to; without one there is no end to a line.
pub(super) fn terminal_width() -> usize {
    Table::new()
        .width()
        .filter(|_| io::stdout().is_terminal())
        .map_or(usize::MAX, usize::from)
}

fn broken(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut taken = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if taken > 0 && taken + 1 + length > width {
            lines.push(std::mem::take(&mut line));
            taken = 0;
        }
        if taken > 0 {
            line.push(' ');
            taken += 1;
        }
        line.push_str(word);
        taken += length;
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_only() {
        assert_eq!(
            broken("one two three four", 9),
            ["one two", "three", "four"]
        );
        assert_eq!(broken("unbreakable", 4), ["unbreakable"]);
        assert_eq!(broken("a b", usize::MAX), ["a b"]);
    }
}
