//! Columns as wide as what is in them.

use std::fmt;

#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new<const N: usize>(header: [&str; N]) -> Table {
        Table { rows: vec![header.map(str::to_owned).into()] }
    }

    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.rows[0].len(), "a row has as many cells as the header");
        self.rows.push(cells.into());
    }

    /// Nothing but the header.
    pub fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    /// As a part of something that is named above it.
    pub fn indented(&self) -> String {
        self.to_string().lines().map(|line| format!("  {line}\n")).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |text: &str| text.chars().count();
        let columns = self.rows[0].len();
        let widths: Vec<usize> =
            (0..columns).map(|at| self.rows.iter().map(|row| width(&row[at])).max().unwrap_or(0)).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&format!("{cell:<width$}  "));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other() {
        let mut table = Table::new(["NAME", "WHAT"]);
        assert!(table.is_empty());
        table.row(["a".into(), "größer".into()]);
        table.row(["long name".into(), String::new()]);
        assert_eq!(table.to_string(), "NAME       WHAT\na          größer\nlong name\n");
    }
}
