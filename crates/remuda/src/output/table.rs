//! Tables for people: a header, columns, no lines around them.

use std::io::{self, IsTerminal as _};

use comfy_table::{Cell, Color, ColumnConstraint, ContentArrangement, Table, presets};

use super::{Output, Tone};

/// A table in the making.
pub(crate) struct Columns {
    table: Table,
    rows: usize,
    empty: &'static str,
}

impl Columns {
    /// Starts a table; `empty` is shown in its place when it has no row.
    pub(crate) fn new<const N: usize>(header: [&str; N], empty: &'static str) -> Self {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_content_arrangement(if io::stdout().is_terminal() {
            ContentArrangement::Dynamic
        } else {
            ContentArrangement::Disabled
        });
        table.set_header(header.map(Cell::new));
        // People copy ids and addresses: a line break in one would come along.
        for (column, _) in table
            .column_iter_mut()
            .zip(header)
            .filter(|(_, title)| matches!(*title, "ID" | "URL"))
        {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
        Self {
            table,
            rows: 0,
            empty,
        }
    }

    /// Adds a row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.table.add_row(cells.map(Cell::new));
        self.rows += 1;
    }

    /// Adds a row whose cell at `marked` stands out.
    pub(crate) fn row_marked<const N: usize>(
        &mut self,
        marked: usize,
        tone: Tone,
        cells: [String; N],
    ) {
        let mut position = 0;
        self.table.add_row(cells.map(|text| {
            let cell = Cell::new(text);
            position += 1;
            if position == marked + 1 {
                cell.fg(colour(tone))
            } else {
                cell
            }
        }));
        self.rows += 1;
    }

    /// Writes the table.
    pub(crate) fn print(mut self, out: Output) -> io::Result<()> {
        if self.rows == 0 {
            return out.line(out.paint(Tone::Faint, self.empty));
        }
        if !out.is_coloured() {
            self.table.force_no_tty();
        }
        for line in self.table.lines() {
            // Without borders the padding at both ends is only noise.
            out.line(line.strip_prefix(' ').unwrap_or(&line).trim_end())?;
        }
        Ok(())
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
