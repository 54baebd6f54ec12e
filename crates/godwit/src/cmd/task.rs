//! `godwit task …`

use super::watch::repeat;
use crate::context::{CliResult, Context};
use crate::output::{self, or_dash};
use crate::progress::follow;
use godwit_model::ids::TaskId;
use godwit_model::task::Task;
use std::process::ExitCode;
use std::time::Duration;

/// Tasks of the manager.
#[derive(Debug, clap::Subcommand)]
pub enum TaskCommand {
    /// List the newest tasks
    List {
        /// At most so many
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// Print again each second
        #[arg(long, short)]
        watch: bool,
    },
    /// Show one task
    Show {
        /// Its id
        task: TaskId,
    },
    /// Wait until tasks have ended
    Wait {
        /// Their ids
        #[arg(required = true)]
        tasks: Vec<TaskId>,
    },
    /// Ask a task to end
    Cancel {
        /// Its id
        task: TaskId,
    },
}

impl TaskCommand {
    /// Carries it out.
    ///
    /// # Errors
    /// The manager says no, or nothing.
    pub async fn run(self, context: &Context) -> CliResult {
        let farm = context.farm()?;
        match self {
            Self::List { limit, watch } => {
                repeat(watch, async || {
                    let header = ["id", "kind", "of", "state", "done", "step", "error"];
                    output::list(context, &farm.tasks(limit).await?, &header, row)
                })
                .await
            }
            Self::Show { task } => {
                let task = farm.task(task, None, Duration::ZERO).await?;
                output::show(context, &task, &lines(&task))
            }
            Self::Wait { tasks } => {
                let mut open = Vec::new();
                for id in tasks {
                    open.push(farm.task(id, None, Duration::ZERO).await?);
                }
                follow(context, &farm, open).await
            }
            Self::Cancel { task } => {
                farm.cancel_task(task).await?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

fn row(task: &Task) -> Vec<String> {
    vec![
        task.id.to_string(),
        task.kind.clone(),
        task.subject.name.clone(),
        task.state.to_string(),
        format!("{} %", task.percent),
        if task.state.is_final() {
            String::new()
        } else {
            task.step.clone()
        },
        task.error.clone().unwrap_or_default(),
    ]
}

fn lines(task: &Task) -> Vec<(&'static str, String)> {
    vec![
        ("id", task.id.to_string()),
        ("kind", task.kind.clone()),
        ("of", format!("{} {}", task.subject.kind, task.subject.name)),
        ("state", format!("{} ({} %)", task.state, task.percent)),
        ("step", task.step.clone()),
        ("error", or_dash(task.error.clone())),
        ("result", or_dash(task.result.clone())),
        ("by", task.by.clone()),
        ("queued", task.queued.to_string()),
        ("started", or_dash(task.started)),
        ("ended", or_dash(task.ended)),
    ]
}
