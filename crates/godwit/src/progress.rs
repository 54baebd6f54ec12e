//! Following tasks: a bar for each on a terminal, a line for each step elsewhere.

use crate::context::{CliError, CliResult, Context};
use crate::output;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use godwit_api::farm::client::FarmClient;
use godwit_model::task::{Task, TaskState};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

/// How long a manager that is being restarted is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for tasks and says how each ended. The exit status is success if all succeeded.
///
/// # Errors
/// The manager gives no answer.
pub async fn follow(context: &Context, farm: &FarmClient, tasks: Vec<Task>) -> CliResult {
    let bars = MultiProgress::new();
    let show = Show::of(context);
    let mut waiting: FuturesOrdered<_> = tasks
        .into_iter()
        .map(|task| follow_one(farm, task, show.line(&bars)))
        .collect();
    let mut ended = Vec::new();
    while let Some(task) = waiting.next().await {
        ended.push(task?);
    }
    let failed = ended
        .iter()
        .filter(|task| task.state != TaskState::Succeeded)
        .count();
    if context.json() {
        output::json(&ended)?;
    }
    for task in &ended {
        if let Some(error) = &task.error {
            eprintln!("{} of {} failed: {error}", task.kind, task.subject.name);
        } else if task.state == TaskState::Cancelled {
            eprintln!("{} of {} was cancelled", task.kind, task.subject.name);
        }
    }
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn follow_one(farm: &FarmClient, task: Task, line: Line) -> Result<Task, CliError> {
    let ended = farm
        .wait_task(task, PATIENCE, |task| line.step(task))
        .await?;
    line.end(&ended);
    Ok(ended)
}

#[derive(Clone, Copy)]
enum Show {
    Bars,
    Lines,
    Nothing,
}

impl Show {
    fn of(context: &Context) -> Self {
        match (context.json(), std::io::stderr().is_terminal()) {
            (true, _) => Self::Nothing,
            (false, true) => Self::Bars,
            (false, false) => Self::Lines,
        }
    }

    fn line(self, bars: &MultiProgress) -> Line {
        match self {
            Self::Nothing => Line::Nothing,
            Self::Lines => Line::Text(std::sync::Mutex::default()),
            Self::Bars => {
                let style =
                    ProgressStyle::with_template("{prefix:24} {bar:30} {percent:>3}%  {msg}")
                        .expect("the template is a constant that indicatif takes");
                Line::Bar(bars.add(ProgressBar::new(100)).with_style(style))
            }
        }
    }
}

enum Line {
    Bar(ProgressBar),
    Text(std::sync::Mutex<String>),
    Nothing,
}

impl Line {
    fn step(&self, task: &Task) {
        match self {
            Self::Bar(bar) => {
                bar.set_prefix(format!("{} {}", task.kind, task.subject.name));
                bar.set_position(u64::from(task.percent));
                bar.set_message(task.step.clone());
            }
            Self::Text(last) => {
                let text = format!("{} {}: {}", task.kind, task.subject.name, task.step);
                let mut last = last
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
                if *last != text {
                    eprintln!("{text}");
                    *last = text;
                }
            }
            Self::Nothing => {}
        }
    }

    fn end(&self, task: &Task) {
        if let Self::Bar(bar) = self {
            bar.finish_with_message(task.state.to_string());
        }
    }
}
