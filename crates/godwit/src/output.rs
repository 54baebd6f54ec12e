//! Printing: tables for people, JSON for programs.

use crate::context::{CliError, CliResult, Context};
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use std::process::ExitCode;

/// Prints rows as a table, or the values behind them as JSON.
///
/// # Errors
/// A value has no JSON form.
pub fn list<T: Serialize>(
    context: &Context,
    values: &[T],
    header: &[&str],
    row: impl Fn(&T) -> Vec<String>,
) -> CliResult {
    if context.json() {
        return json(values);
    }
    println!("{}", table(header, values.iter().map(row)));
    Ok(ExitCode::SUCCESS)
}

/// Prints one thing as lines of `name  value`, or as JSON.
///
/// # Errors
/// The value has no JSON form.
pub fn show<T: Serialize>(context: &Context, value: &T, lines: &[(&str, String)]) -> CliResult {
    if context.json() {
        return json(value);
    }
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, text) in lines {
        println!("{name:width$}  {text}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints JSON.
///
/// # Errors
/// The value has no JSON form.
pub fn json<T: Serialize + ?Sized>(value: &T) -> CliResult {
    println!(
        "{}",
        serde_json::to_string_pretty(value).map_err(CliError::from)?
    );
    Ok(ExitCode::SUCCESS)
}

/// A table without lines, as wide as its content.
pub fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(
        header
            .iter()
            .map(|name| name.to_uppercase())
            .collect::<Vec<_>>(),
    );
    table.add_rows(rows);
    table.trim_fmt()
}

/// A value that may be missing.
pub fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}
