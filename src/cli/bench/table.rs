//! Tables for a terminal.

use comfy_table::{CellAlignment, Table};

/// The first column is text, as is one that is called "method".
pub(super) fn table(header: &[&str]) -> Table {
    let mut rows = Table::new();
    rows.load_preset(comfy_table::presets::UTF8_BORDERS_ONLY);
    rows.set_header(header);
    for (at, name) in header.iter().enumerate().skip(1) {
        if let Some(column) = rows.column_mut(at).filter(|_| *name != "method") {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    rows
}
