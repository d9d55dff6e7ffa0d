//! Tables for people: a header, columns, no lines around them.

use std::io::{self, IsTerminal as _};

use comfy_table::{Cell, Color, ColumnConstraint, ContentArrangement, Table, presets};

use super::wrap::terminal_width;
use super::{Output, Tone};

/// Columns whose cells are never broken: people copy ids and addresses, and a state in two pieces is hard to read.
const WHOLE: [&str; 5] = ["ID", "URL", "WHEN", "OUTCOME", "STATE"];

/// The space around a cell.
const PADDING: usize = 2;

/// A table in the making.
pub(crate) struct Columns {
    header: Vec<&'static str>,
    rows: Vec<Row>,
    empty: &'static str,
    /// Columns that go first when the terminal is too narrow for all.
    dispensable: &'static [&'static str],
}

struct Row {
    cells: Vec<String>,
    /// The cell that stands out, and how.
    marked: Option<(usize, Tone)>,
}

impl Columns {
    /// Starts a table; `empty` is shown in its place when it has no row.
    pub(crate) fn new<const N: usize>(header: [&'static str; N], empty: &'static str) -> Self {
        Self {
            header: header.to_vec(),
            rows: Vec::new(),
            empty,
            dispensable: &[],
        }
    }

    /// Names columns to leave out, one after the other, until the rest fits the terminal.
    pub(crate) fn dispensing_with(mut self, columns: &'static [&'static str]) -> Self {
        self.dispensable = columns;
        self
    }

    /// Adds a row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(Row {
            cells: Vec::from(cells),
            marked: None,
        });
    }

    /// Adds a row whose cell at `marked` stands out.
    pub(crate) fn row_marked<const N: usize>(
        &mut self,
        marked: usize,
        tone: Tone,
        cells: [String; N],
    ) {
        self.rows.push(Row {
            cells: Vec::from(cells),
            marked: Some((marked, tone)),
        });
    }

    /// Writes the table without the columns that have nothing to say.
    pub(crate) fn print(self, out: Output) -> io::Result<()> {
        if self.rows.is_empty() {
            return out.line(out.paint(Tone::Faint, self.empty));
        }
        let mut table = self.arranged();
        if !out.is_coloured() {
            table.force_no_tty();
        }
        for line in table.lines() {
            // Without borders the padding at both ends is only noise.
            out.line(line.strip_prefix(' ').unwrap_or(&line).trim_end())?;
        }
        Ok(())
    }

    /// Tells of each column whether it is shown in so many terminal columns.
    fn shown(&self, room: usize) -> Vec<bool> {
        let widths: Vec<usize> = (0..self.header.len())
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.cells.get(column));
                cells.map(|text| text.chars().count()).max().unwrap_or(0)
            })
            .collect();
        let mut shown: Vec<bool> = widths.iter().map(|width| *width > 0).collect();
        let needed = |shown: &[bool]| -> usize {
            let columns = self.header.iter().zip(&widths).zip(shown);
            columns
                .filter(|(_, is_shown)| **is_shown)
                .map(|((title, width), _)| PADDING + title.len().max(*width))
                .sum()
        };
        for title in self.dispensable {
            if needed(&shown) <= room {
                break;
            }
            for (column, is_shown) in self.header.iter().zip(&mut shown) {
                *is_shown &= column != title;
            }
        }
        shown
    }

    fn arranged(self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_content_arrangement(if io::stdout().is_terminal() {
            ContentArrangement::Dynamic
        } else {
            ContentArrangement::Disabled
        });
        let shown = self.shown(terminal_width());
        let is_shown = |column: usize| shown.get(column).copied().unwrap_or(false);
        let titles = || {
            let columns = self.header.iter().enumerate();
            columns
                .filter(|(column, _)| is_shown(*column))
                .map(|(_, title)| *title)
        };
        table.set_header(titles().map(Cell::new));
        for row in &self.rows {
            let cells = row.cells.iter().enumerate();
            table.add_row(
                cells
                    .filter(|(column, _)| is_shown(*column))
                    .map(|(column, text)| match row.marked {
                        Some((marked, tone)) if marked == column => {
                            Cell::new(text).fg(colour(tone))
                        }
                        _ => Cell::new(text),
                    }),
            );
        }
        for (column, title) in table.column_iter_mut().zip(titles()) {
            if WHOLE.contains(&title) {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        table
    }
}

const fn colour(tone: Tone) -> Color {
    match tone {
        Tone::Strong => Color::White,
        Tone::Faint => Color::DarkGrey,
        Tone::Good => Color::Green,
        Tone::Warning => Color::Yellow,
        Tone::Bad => Color::Red,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dispensable_columns_go_until_the_rest_fits() {
        let mut columns =
            Columns::new(["NAME", "TAGS", "SIZE"], "none").dispensing_with(&["TAGS", "SIZE"]);
        columns.row(["a-long-name", "tag", "1 GB"].map(str::to_owned));
        assert_eq!(columns.shown(80), [true, true, true]);
        assert_eq!(columns.shown(20), [true, false, true]);
        assert_eq!(columns.shown(10), [true, false, false]);
    }

    #[test]
    fn columns_without_content_are_left_out() {
        let mut columns = Columns::new(["NAME", "TAGS", "SIZE"], "none");
        let cells = |name: &str, size: &str| [name.to_owned(), String::new(), size.to_owned()];
        columns.row(cells("a", ""));
        columns.row_marked(2, Tone::Good, cells("b", "1 GB"));
        let mut table = columns.arranged();
        table.force_no_tty();
        let text = table.to_string();
        assert!(
            text.contains("SIZE") && text.contains("1 GB") && !text.contains("TAGS"),
            "{text}"
        );
    }
}
