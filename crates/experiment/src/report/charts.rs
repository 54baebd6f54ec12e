//! The report's pictures: orders per minute over time (the paper's figure 3), CPU per blade over
//! time (its figure 4); response times and blackouts are in [`responses`](super::responses).

use crate::raw::Run;
use crate::records::{HostRow, MoveOutcome, Part};
use crate::report::axis::{Scale, TimeTicks, label, ticks, time_ticks};
use crate::report::responses;
use crate::report::schema::{MoveReport, Report};
use crate::report::svg::{Anchor, Svg};

/// Width of every picture.
pub const WIDTH: f64 = 960.0;
/// Where the plot begins and ends.
pub const LEFT: f64 = 58.0;
/// With more migrations than this, shading each over the lines would hide the lines.
const MOST_BANDS: usize = 40;
/// Where the plot ends.
pub const RIGHT: f64 = WIDTH - 18.0;

/// All pictures of a report.
pub struct Figures {
    /// Orders per minute over time.
    pub orders: Svg,
    /// CPU per blade over time.
    pub cpu: Svg,
    /// Response-time percentiles per interval.
    pub responses: Svg,
    /// Blackout per migration.
    pub blackouts: Svg,
}

impl Figures {
    /// Draws all of them.
    pub fn draw(run: &Run, report: &Report) -> Self {
        Self {
            orders: orders(run, report),
            cpu: cpu(run, report),
            responses: responses::per_interval(report),
            blackouts: responses::blackouts(report),
        }
    }
}

/// Draws y ticks with their grid lines and labels.
pub fn y_axis(svg: &mut Svg, y: Scale, values: &[f64]) {
    let step = values.get(1).copied().unwrap_or(1.0);
    for value in values {
        let at = y.at(*value);
        let class = if *value == 0.0 { "axis" } else { "grid" };
        svg.line(class, (LEFT, at), (RIGHT, at));
        svg.text(
            "",
            (LEFT - 8.0, at + 4.0),
            Anchor::End,
            &label(*value, step),
        );
    }
}

fn time_axis(svg: &mut Svg, x: Scale, bottom: f64, time: &TimeTicks) {
    for (t, text) in &time.ticks {
        svg.line("axis", (x.at(*t), bottom), (x.at(*t), bottom + 5.0));
        svg.text("", (x.at(*t), bottom + 19.0), Anchor::Middle, text);
    }
    svg.text(
        "",
        ((LEFT + RIGHT) / 2.0, bottom + 38.0),
        Anchor::Middle,
        time.title,
    );
}

/// A legend in one row: class of the sign, whether it is a line, the text.
pub fn legend(svg: &mut Svg, y: f64, entries: &[(&str, Sign, &str)]) {
    let mut x = LEFT;
    for (class, sign, text) in entries {
        match sign {
            Sign::Line => svg.line(class, (x, y - 4.0), (x + 22.0, y - 4.0)),
            Sign::Bar => svg.rect(class, (x + 5.0, y - 10.0), (11.0, 11.0), ""),
            Sign::Dot => svg.dot(class, (x + 11.0, y - 4.0), 4.5, ""),
        }
        svg.text("ink", (x + 28.0, y), Anchor::Start, text);
        x += 28.0 + text.chars().count() as f64 * 6.6 + 22.0;
    }
}

/// What stands before an entry of a legend.
#[derive(Debug, Clone, Copy)]
pub enum Sign {
    /// A piece of line.
    Line,
    /// A square.
    Bar,
    /// A dot.
    Dot,
}

/// Dashed lines between intervals, with the number of migrations above each where it fits.
fn intervals(svg: &mut Svg, x: Scale, top: f64, bottom: f64, report: &Report) {
    let length = f64::from(report.settings.interval_s);
    for (k, moves) in report.settings.migrations_per_interval().iter().enumerate() {
        let (from, to) = (x.at(k as f64 * length), x.at((k + 1) as f64 * length));
        if report.settings.migrations_step == 0 {
            return;
        }
        if k > 0 {
            svg.line("divider", (from, top), (from, bottom));
        }
        let word = if *moves == 1 {
            "migration"
        } else {
            "migrations"
        };
        let text = if roomy(report) {
            format!("{moves} {word}")
        } else {
            moves.to_string()
        };
        svg.text(
            "small",
            ((from + to) / 2.0, top - 6.0),
            Anchor::Middle,
            &text,
        );
    }
}

/// Whether each interval has room for its number of migrations with the word.
fn roomy(report: &Report) -> bool {
    (RIGHT - LEFT) / f64::from(report.settings.intervals.max(1)) > 100.0
}

/// A chart's title; where intervals bear bare numbers it says what they are.
fn title(report: &Report, text: &str) -> String {
    let note = if roomy(report) || report.settings.migrations_step == 0 {
        ""
    } else {
        "; numbers on top: migrations per interval"
    };
    format!("{text}{note}")
}

/// Seconds per point of a line over a window: at most about a hundred points.
fn bin_seconds(window_s: f64) -> f64 {
    let steps = [5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0];
    steps
        .into_iter()
        .find(|s| window_s / s <= 110.0)
        .unwrap_or(900.0)
}

/// Orders per minute in each whole bin: middle of the bin, value.
fn orders_per_minute(run: &Run, part: Part, reached: f64, bin: f64) -> Vec<(f64, f64)> {
    let mut counts = vec![0u32; (reached / bin) as usize];
    for order in run
        .orders
        .iter()
        .filter(|o| o.part == part && o.outcome.answered() && o.end_s >= 0.0)
    {
        if let Some(count) = counts.get_mut((order.end_s / bin) as usize) {
            *count += 1;
        }
    }
    let point = |(k, n): (usize, &u32)| ((k as f64 + 0.5) * bin, f64::from(*n) * 60.0 / bin);
    counts.iter().enumerate().map(point).collect()
}

fn move_hint(one: &MoveReport) -> String {
    let (row, blackout) = (&one.row, one.blackout_ms);
    let seen = blackout.map_or_else(String::new, |ms| format!(", blackout {ms:.0} ms"));
    format!(
        "{} from {} to {}: {:.1} s{seen}",
        row.vm, row.from, row.to, row.seconds
    )
}

fn move_class(one: &MoveReport) -> &'static str {
    if one.row.outcome == MoveOutcome::Ok {
        "move"
    } else {
        "failed"
    }
}

fn begun(report: &Report) -> impl Iterator<Item = &MoveReport> {
    report
        .migrations
        .iter()
        .filter(|m| m.row.outcome != MoveOutcome::NotStarted)
}

/// The paper's figure 3: both parts' orders per minute, and below, on the same time axis, each
/// migration with its duration.
fn orders(run: &Run, report: &Report) -> Svg {
    const TOP: f64 = 84.0;
    const MIDDLE: f64 = 324.0;
    const LOWER: f64 = 372.0;
    const BOTTOM: f64 = 452.0;
    let window = f64::from(report.settings.window_s());
    let bin = bin_seconds(window);
    let mut svg = Svg::new(
        WIDTH,
        500.0,
        "Orders per minute over time, with each migration marked",
    );
    let line = |part: Part| {
        let report = if part == Part::Baseline {
            &report.baseline
        } else {
            &report.migrating
        };
        report
            .as_ref()
            .map_or_else(Vec::new, |p| orders_per_minute(run, part, p.seconds, bin))
    };
    let (base, moved) = (line(Part::Baseline), line(Part::Migrating));
    let highest = base.iter().chain(&moved).map(|p| p.1).fold(1.0, f64::max);
    let (x, values) = (
        Scale::new(0.0, window, LEFT, RIGHT),
        ticks(highest * 1.04, 5),
    );
    let y = Scale::new(0.0, values[values.len() - 1], MIDDLE, TOP);
    svg.text(
        "title",
        (LEFT, 22.0),
        Anchor::Start,
        &title(
            report,
            &format!(
                "Orders per minute, all {} VMs (each point: {bin:.0} s)",
                report.vms
            ),
        ),
    );
    legend(
        &mut svg,
        46.0,
        &[
            ("baseline wide", Sign::Line, "without migration"),
            ("migrating", Sign::Line, "with migrations"),
            (
                "move",
                Sign::Bar,
                "a migration, as wide and as high as it took long",
            ),
        ],
    );
    let shaded = begun(report).count() <= MOST_BANDS;
    for one in begun(report).filter(|_| shaded) {
        let (from, to) = (x.at(one.row.start_s), x.at(one.row.end_s));
        svg.rect(
            "band",
            (from, TOP),
            ((to - from).max(1.5), MIDDLE - TOP),
            "",
        );
    }
    y_axis(&mut svg, y, &values);
    intervals(&mut svg, x, TOP, BOTTOM, report);
    for (class, points) in [("baseline", &base), ("migrating", &moved)] {
        let points: Vec<_> = points.iter().map(|(t, v)| (x.at(*t), y.at(*v))).collect();
        svg.path(class, &points);
    }
    durations(&mut svg, x, (LOWER, BOTTOM), report);
    time_axis(&mut svg, x, BOTTOM, &time_ticks(window));
    svg
}

fn durations(svg: &mut Svg, x: Scale, (top, bottom): (f64, f64), report: &Report) {
    let longest = begun(report).map(|m| m.row.seconds).fold(1.0, f64::max);
    let values = ticks(longest, 2);
    let y = Scale::new(0.0, values[values.len() - 1], bottom, top);
    svg.text(
        "title",
        (LEFT, top - 12.0),
        Anchor::Start,
        "Seconds per migration",
    );
    y_axis(svg, y, &values);
    for one in begun(report) {
        let (from, to) = (x.at(one.row.start_s), x.at(one.row.end_s));
        let (at, size) = (
            (from, y.at(one.row.seconds)),
            ((to - from).max(2.5), bottom - y.at(one.row.seconds)),
        );
        svg.rect(move_class(one), at, size, &move_hint(one));
    }
}

/// The paper's figure 4: CPU of each blade in part 2, migrations marked on the time axis.
fn cpu(run: &Run, report: &Report) -> Svg {
    const TOP: f64 = 84.0;
    const BOTTOM: f64 = 344.0;
    let window = f64::from(report.settings.window_s());
    let bin = bin_seconds(window).min(window / 30.0).max(1.0);
    let mut svg = Svg::new(
        WIDTH,
        412.0,
        "CPU per blade over time, with migrations marked",
    );
    let x = Scale::new(0.0, window, LEFT, RIGHT);
    let y = Scale::new(0.0, 100.0, BOTTOM, TOP);
    svg.text(
        "title",
        (LEFT, 22.0),
        Anchor::Start,
        &title(
            report,
            "CPU of each blade in the part with migrations, percent of its cores",
        ),
    );
    let names: Vec<&str> = report.hosts.iter().map(|h| h.info.name.as_str()).collect();
    let class = |k: usize| format!("host{}", k % 4);
    let classes: Vec<String> = (0..names.len()).map(class).collect();
    let mut signs: Vec<(&str, Sign, &str)> = classes
        .iter()
        .zip(&names)
        .map(|(class, name)| (class.as_str(), Sign::Line, *name))
        .collect();
    signs.push(("mean", Sign::Line, "mean without migration"));
    signs.push(("move", Sign::Bar, "a migration"));
    legend(&mut svg, 46.0, &signs);
    y_axis(&mut svg, y, &[0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
    intervals(&mut svg, x, TOP, BOTTOM + 14.0, report);
    for (k, host) in report.hosts.iter().enumerate() {
        if let Some(mean) = host.cpu_percent.baseline {
            let at = y.at(mean);
            svg.line(&format!("{} mean", class(k)), (LEFT, at), (RIGHT, at));
        }
    }
    for (k, name) in names.iter().enumerate() {
        let of_host = run
            .hosts
            .iter()
            .filter(|h| h.part == Part::Migrating && h.host == *name);
        let points = binned(of_host, bin, window);
        let points: Vec<_> = points
            .into_iter()
            .map(|(t, v)| (x.at(t), y.at(v)))
            .collect();
        svg.path(&class(k), &points);
    }
    for one in begun(report) {
        let (from, to) = (x.at(one.row.start_s), x.at(one.row.end_s));
        let size = ((to - from).max(2.5), 9.0);
        svg.rect(move_class(one), (from, BOTTOM + 3.0), size, &move_hint(one));
    }
    time_axis(&mut svg, x, BOTTOM + 14.0, &time_ticks(window));
    svg
}

/// Mean CPU in each bin that has samples.
fn binned<'a>(rows: impl Iterator<Item = &'a HostRow>, bin: f64, window: f64) -> Vec<(f64, f64)> {
    let mut sums = vec![(0.0, 0u32); (window / bin).ceil() as usize];
    for row in rows.filter(|r| r.t_s >= 0.0) {
        if let Some((sum, count)) = sums.get_mut((row.t_s / bin) as usize) {
            *sum += row.cpu_percent;
            *count += 1;
        }
    }
    let point = |(k, (sum, count)): (usize, &(f64, u32))| {
        (*count > 0).then(|| ((k as f64 + 0.5) * bin, sum / f64::from(*count)))
    };
    sums.iter().enumerate().filter_map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{build, sample};

    #[test]
    fn bins_count_orders_per_minute() {
        let run = sample::run(1);
        let points = orders_per_minute(&run, Part::Baseline, 105.0, 5.0);
        assert_eq!(points.len(), 21);
        let report = build(&run);
        let mean = points.iter().map(|p| p.1).sum::<f64>() / 21.0;
        assert!((mean - report.baseline.unwrap().orders_per_minute).abs() < 1e-6);
    }

    #[test]
    fn each_migration_is_marked_in_both_figures() {
        let run = sample::run(1);
        let figures = Figures::draw(&run, &build(&run));
        for svg in [&figures.orders, &figures.cpu] {
            let file = crate::report::svg::standalone(svg);
            assert_eq!(file.matches("<title>ds2-").count(), 12);
        }
    }
}
