//! Tables: a row is a line, cut at the terminal's edge and whole elsewhere.

use comfy_table::{CellAlignment, Table as Layout, presets};
use console::{Style, truncate_str};

use super::show::printable;
use super::streams;

/// How a row is shown where colours are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tone {
    /// As any text.
    Plain,
    /// It is over, or nothing happens.
    Dim,
    /// It is held back, or on its way out.
    Held,
    /// It went wrong.
    Bad,
}

impl Tone {
    /// That of a job or worker in this state.
    pub(super) fn of_state(state: &str) -> Self {
        match state {
            "succeeded" | "idle" | "cancelled" => Self::Dim,
            "paused" | "cancelling" | "ending" | "starting" => Self::Held,
            "failed" => Self::Bad,
            _ => Self::Plain,
        }
    }

    fn style(self) -> Style {
        let style = Style::new().force_styling(true);
        match self {
            Self::Plain => style,
            Self::Dim => style.dim(),
            Self::Held => style.yellow(),
            Self::Bad => style.red(),
        }
    }
}

/// A column's name, and whether it holds numbers.
pub(super) type Column = (&'static str, bool);

/// A table to be filled.
pub(super) struct Table {
    columns: Vec<Column>,
    rows: Vec<(Vec<String>, Tone)>,
}

impl Table {
    pub(super) fn new(columns: &[Column]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    pub(super) fn add(&mut self, tone: Tone, cells: impl IntoIterator<Item = String>) {
        self.rows.push((cells.into_iter().map(|cell| printable(&cell)).collect(), tone));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// For standard output as it is.
    pub(super) fn text(&self) -> String {
        let width = streams::size().map(|(columns, _)| columns).filter(|_| streams::is_terminal());
        self.lines(width, streams::is_coloured()).join("\n") + "\n"
    }

    /// The header and a line for each row, no wider than this.
    pub(super) fn lines(&self, width: Option<usize>, is_coloured: bool) -> Vec<String> {
        let header = Style::new().force_styling(true).bold();
        let styles = std::iter::once(header).chain(self.rows.iter().map(|(_, tone)| tone.style()));
        let line = |(line, style): (String, Style)| {
            let line =
                width.map_or(line.trim_end().into(), |width| truncate_str(line.trim_end(), width, "…"));
            if is_coloured { style.apply_to(line).to_string() } else { line.into_owned() }
        };
        self.layout().lines().zip(styles).map(line).collect()
    }

    fn layout(&self) -> Layout {
        let mut layout = Layout::new();
        layout.load_style(presets::NOTHING).set_header(self.columns.iter().map(|(name, _)| *name));
        layout.add_rows(self.rows.iter().map(|(cells, _)| cells));
        for (column, (_, is_number)) in layout.column_iter_mut().zip(&self.columns) {
            column.set_padding((0, 2));
            if *is_number {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        layout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_a_line() {
        let mut table = Table::new(&[("NAME", false), ("TASKS", true)]);
        table.add(Tone::Plain, ["a\nb".into(), "12".into()]);
        assert_eq!(table.lines(None, false), ["NAME  TASKS", "a\u{fffd}b      12"]);
        assert_eq!(table.lines(Some(8), false), ["NAME  T…", "a\u{fffd}b    …"]);
        assert_eq!(table.lines(None, true)[0], "\u{1b}[1mNAME  TASKS\u{1b}[0m");
    }
}
