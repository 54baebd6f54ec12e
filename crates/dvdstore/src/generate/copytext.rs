//! Rows in the text form of PostgreSQL's COPY: tabs between columns, `\N` for nothing.

use std::fmt::{Display, Write as _};

use crate::record::Cents;

/// A growing piece of COPY text. Our data has no tabs, line ends or backslashes, so nothing needs escaping.
#[derive(Debug, Default)]
pub(crate) struct CopyText {
    text: String,
    in_row: bool,
}

impl CopyText {
    pub(crate) fn with_capacity(bytes: usize) -> CopyText {
        CopyText {
            text: String::with_capacity(bytes),
            in_row: false,
        }
    }

    /// Adds a column to the row.
    pub(crate) fn column<T: Display>(&mut self, value: T) -> &mut Self {
        if self.in_row {
            self.text.push('\t');
        }
        self.in_row = true;
        let start = self.text.len();
        // Writing to a String cannot fail.
        let _ = write!(self.text, "{value}");
        debug_assert!(
            !self.text[start..].contains(['\t', '\n', '\r', '\\']),
            "would need escaping"
        );
        self
    }

    /// Adds a column that may be empty.
    pub(crate) fn nullable(&mut self, value: Option<impl Display>) -> &mut Self {
        match value {
            Some(value) => self.column(value),
            None => {
                self.column("");
                self.text.push_str("\\N");
                self
            }
        }
    }

    /// Adds a column of money.
    pub(crate) fn money(&mut self, amount: Cents) -> &mut Self {
        self.column(amount)
    }

    /// Ends the row.
    pub(crate) fn end(&mut self) {
        self.text.push('\n');
        self.in_row = false;
    }

    pub(crate) fn len(&self) -> usize {
        self.text.len()
    }

    pub(crate) fn into_bytes(self) -> bytes::Bytes {
        self.text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_written_as_copy_reads_them() {
        let mut text = CopyText::default();
        text.column(1)
            .nullable(None::<i32>)
            .nullable(Some("x"))
            .money(Cents(1_005))
            .end();
        text.column("second").end();
        assert_eq!(&text.into_bytes()[..], b"1\t\\N\tx\t10.05\nsecond\n");
    }
}
