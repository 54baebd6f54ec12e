//! What `drive` shows while it goes on, and its result as a table.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use godwit_dvdstore::classic::Classic;
use godwit_dvdstore::driver::{DriveReport, Progress, RunPhase, TargetReport};
use godwit_dvdstore::stats::Counts;
use indicatif::ProgressBar;
use tokio::sync::watch;

/// The classic driver prints so often.
const CLASSIC_LINE: Duration = Duration::from_secs(10);
/// In a log, one line of ours so often; no silence longer than this.
const LOG_LINE: Duration = Duration::from_secs(5);

/// How the progress is shown.
pub(super) enum Display {
    /// One line that is written over.
    Terminal(ProgressBar),
    /// A line now and then.
    Log,
    /// The lines of DVD Store 2, on standard output.
    Classic(Arc<Mutex<Classic>>),
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Display {
    /// What suits standard error.
    pub(super) fn for_people() -> Display {
        if std::io::stderr().is_terminal() {
            Display::Terminal(ProgressBar::new_spinner())
        } else {
            Display::Log
        }
    }

    /// Shows the progress until the run is over.
    pub(super) async fn show(self, mut progress: watch::Receiver<Progress>) {
        let mut next = match self {
            Display::Terminal(_) => Duration::ZERO,
            Display::Log => LOG_LINE,
            Display::Classic(_) => CLASSIC_LINE,
        };
        while progress.changed().await.is_ok() {
            let now = progress.borrow_and_update().clone();
            if now.phase == RunPhase::Finished {
                break;
            }
            match &self {
                Display::Terminal(bar) => {
                    bar.set_message(line(&now));
                    bar.tick();
                }
                Display::Log if now.elapsed >= next => {
                    eprintln!("{}", line(&now));
                    next += LOG_LINE;
                }
                Display::Classic(classic)
                    if now.measured >= next && now.phase == RunPhase::Measuring =>
                {
                    println!("{}", lock(classic).line(now.measured));
                    next += CLASSIC_LINE;
                }
                _ => {}
            }
        }
        if let Display::Terminal(bar) = &self {
            bar.finish_and_clear();
        }
    }
}

/// The progress in one line.
fn line(progress: &Progress) -> String {
    let phase = match progress.phase {
        RunPhase::WarmUp => "warm-up",
        RunPhase::Measuring => "measuring",
        RunPhase::Finishing | RunPhase::Finished => "finishing",
    };
    let all = progress
        .targets
        .iter()
        .fold(Counts::default(), |sum, target| sum.plus(target.all));
    let rate: f64 = progress
        .targets
        .iter()
        .map(|target| target.recent_orders_per_minute)
        .sum();
    let worst = progress
        .targets
        .iter()
        .map(|target| target.recent_max_latency)
        .max()
        .unwrap_or_default();
    let mut line = format!(
        "{phase} {:>4} s: {rate:.0} orders/min, slowest {} ms, {} committed, {} rolled back, {} errors",
        progress.elapsed.as_secs(),
        worst.as_millis(),
        all.committed,
        all.rolled_back,
        all.errors(),
    );
    let queue = progress
        .targets
        .iter()
        .map(|target| target.queue_lag)
        .max()
        .unwrap_or_default();
    if !queue.is_zero() {
        line += &format!(", queue {} ms long", queue.as_millis());
    }
    if let Some((name, error)) = progress
        .targets
        .iter()
        .find_map(|target| Some((&target.name, target.last_error.as_ref()?)))
    {
        line += &format!("; {name}: {error}");
    }
    line
}

/// Prints the result.
pub(super) fn print(report: &DriveReport) {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header([
        "TARGET",
        "ORDERS/MIN",
        "COMMITTED",
        "ROLLED BACK",
        "FAILED",
        "UNKNOWN",
        "P50",
        "P95",
        "P99",
        "P99.9",
        "MAX",
        "LONGEST GAP",
    ]);
    for target in &report.targets {
        table.add_row(row(&target.name, target));
    }
    if report.targets.len() > 1 {
        table.add_row(row("all", &report.total));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{}", table.trim_fmt());
    let (lag, queue) = (&report.total.generator_lag, &report.total.queue_lag);
    let measured = report.stopped.since(report.measured_from).as_secs_f64();
    println!("\nmeasured for {measured:.1} s; times in ms from the intended start");
    println!(
        "the generator was late by p99 {:.1} ms, at most {:.1} ms",
        lag.p99_ms, lag.max_ms
    );
    println!(
        "orders waited for a free connection p99 {:.1} ms, at most {:.1} ms",
        queue.p99_ms, queue.max_ms
    );
    for (kind, count) in &report.total.errors {
        println!("errors, {}: {count} (warm-up included)", kind.name());
    }
    if report.total.reconnects > 0 {
        println!("reconnects: {}", report.total.reconnects);
    }
    if report.total.not_started > 0 {
        println!(
            "due but not started before the end: {}",
            report.total.not_started
        );
    }
}

fn row(name: &str, target: &TargetReport) -> [String; 12] {
    let (counts, latency) = (&target.measured, &target.latency);
    let ms = |ms: f64| format!("{ms:.1}");
    [
        name.to_owned(),
        format!("{:.1}", target.orders_per_minute),
        counts.committed.to_string(),
        counts.rolled_back.to_string(),
        counts.failed.to_string(),
        counts.unknown.to_string(),
        ms(latency.p50_ms),
        ms(latency.p95_ms),
        ms(latency.p99_ms),
        ms(latency.p999_ms),
        ms(latency.max_ms),
        ms(target.longest_gap_ms),
    ]
}
