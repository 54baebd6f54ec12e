//! The results as a picture: for each link and load a block of rows, for each figure a column of bars, each bar the
//! median with a line from the least to the greatest.

use super::spread::Row;
use super::svg::{Svg, escape};
use super::{Results, table};
use crate::plan::Engine;

const LABELS: f64 = 210.0;
const COLUMN: f64 = 190.0;
const BAR: f64 = 95.0;
const LINE: f64 = 22.0;
const HEAD: f64 = 74.0;
const MARGIN: f64 = 16.0;

/// A column: heading, figure, unit, digits after the point.
type Column = (&'static str, &'static str, f64, usize);

const COLUMNS: [Column; 4] = [
    ("bytes on the wire, MB", "bytes", 1e6, 1),
    ("total time, s", "seconds", 1.0, 2),
    ("blackout for clients, ms", "client_blackout_ms", 1.0, 0),
    ("CPU at both ends, s", "cpu_seconds", 1.0, 2),
];

/// The picture as a file of its own.
#[must_use]
pub fn svg(results: &Results) -> String {
    let rows = results.rows();
    let blocks: Vec<&[Row]> = rows
        .chunk_by(|a, b| (a.link, a.load) == (b.link, b.load))
        .collect();
    let width = MARGIN * 2.0 + LABELS + COLUMN * COLUMNS.len() as f64;
    let height: f64 = blocks
        .iter()
        .map(|block| HEAD + LINE * block.len() as f64)
        .sum();
    let mut svg = Svg::new((width, height + MARGIN));
    let mut top = 0.0;
    for block in blocks {
        draw(&mut svg, block, top, width);
        top += HEAD + LINE * block.len() as f64;
    }
    svg.finish("Ways to move a running VM, compared")
}

/// The picture with the table under it.
#[must_use]
pub fn html(results: &Results) -> String {
    let (picture, text) = (svg(results), escape(&table::text(results)));
    format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Godwit: ways to move a running VM</title>\n\
         <style>body{{margin:1.5rem;background:var(--ground);color:var(--ink);font:14px system-ui,sans-serif}}\n\
         svg{{max-width:100%;height:auto}}pre{{overflow-x:auto}}</style>\n{picture}<pre>{text}</pre>\n</html>\n"
    )
}

fn draw(svg: &mut Svg, block: &[Row], top: f64, width: f64) {
    let Some(first) = block.first() else { return };
    let title = format!("link {}, load {}", first.link.name(), first.load.name());
    svg.text("title", (MARGIN, top + 26.0), "start", &title);
    svg.line("rule", (MARGIN, top + 36.0), (width - MARGIN, top + 36.0));
    for (index, row) in block.iter().enumerate() {
        let y = top + HEAD + LINE * index as f64;
        let label = format!("{}, {}", row.engine.name(), row.visit.name());
        svg.text("ink", (MARGIN, y), "start", &label);
    }
    for (number, column) in COLUMNS.iter().enumerate() {
        let left = MARGIN + LABELS + COLUMN * number as f64;
        svg.text("", (left, top + 52.0), "start", column.0);
        bars(svg, block, column, (left, top + HEAD));
    }
}

fn bars(svg: &mut Svg, block: &[Row], column: &Column, (left, top): (f64, f64)) {
    let (_, name, unit, digits) = *column;
    let most = block.iter().filter_map(|row| row.figures.get(name));
    let most = most
        .map(|spread| spread.max)
        .fold(f64::MIN_POSITIVE, f64::max);
    let long = |value: f64| value / most * BAR;
    for (index, row) in block.iter().enumerate() {
        let Some(spread) = row.figures.get(name) else {
            continue;
        };
        let y = top + LINE * index as f64;
        let class = if row.engine == Engine::Godwit {
            "godwit"
        } else {
            "stock"
        };
        let [median, min, max] = [spread.median, spread.min, spread.max]
            .map(|value| format!("{:.digits$}", value / unit));
        let hint = format!(
            "{} {}: {median} ({min} to {max}, {} runs)",
            row.engine.name(),
            row.visit.name(),
            row.runs
        );
        svg.bar(class, (left, y - 11.0), (long(spread.median), 13.0), &hint);
        svg.line(
            "range",
            (left + long(spread.min), y - 4.5),
            (left + long(spread.max), y - 4.5),
        );
        svg.text("ink", (left + BAR + 8.0, y), "start", &median);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Visit;
    use crate::result::testing::sample;

    #[test]
    fn each_row_has_its_bars() {
        let results = Results {
            samples: vec![
                sample(Engine::Plain, Visit::First, 4e8),
                sample(Engine::Godwit, Visit::First, 4e7),
            ],
            problems: vec!["<none>".into()],
            ..Results::default()
        };
        let picture = svg(&results);
        assert_eq!(
            picture.matches("<rect class=\"godwit\"").count(),
            COLUMNS.len()
        );
        assert_eq!(
            picture.matches("<rect class=\"stock\"").count(),
            COLUMNS.len()
        );
        assert!(picture.contains("400.0") && picture.contains("40.0"));
        assert!(html(&results).contains("&lt;none&gt;"));
    }
}
