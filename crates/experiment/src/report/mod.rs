//! The report of a run: [`build`] makes it from the raw data, [`write()`] puts `report.json`,
//! `table5.md`, the two figures and `report.html` beside them. `docs/report.md` documents the
//! fields of `report.json`, which are the types in [`schema`].

mod axis;
mod build;
mod charts;
mod html;
pub mod paper;
mod responses;
pub mod sample;
pub mod schema;
mod svg;
mod table5;
mod validity;

pub use build::build;
pub use schema::Report;
pub use table5::{markdown as table5_markdown, terminal as table5_terminal};

use crate::raw::{RawError, Run, RunDir};

/// Builds the report of the run in that folder and writes all its files.
///
/// # Errors
/// The folder cannot be read or written.
pub fn write(dir: &RunDir) -> Result<Report, RawError> {
    let run = dir.load()?;
    let report = build(&run);
    write_files(dir, &run, &report)?;
    Ok(report)
}

fn write_files(dir: &RunDir, run: &Run, report: &Report) -> Result<(), RawError> {
    let mut json = serde_json::to_string_pretty(report).map_err(|e| RawError::Format {
        path: dir.file("report.json"),
        source: Box::new(e),
    })?;
    json.push('\n');
    let figures = charts::Figures::draw(run, report);
    dir.write("table5.md", &table5::markdown(report))?;
    dir.write("figure3.svg", &svg::standalone(&figures.orders))?;
    dir.write("figure4.svg", &svg::standalone(&figures.cpu))?;
    dir.write("report.html", &html::page(report, &figures))?;
    dir.write("report.json", &json)
}
