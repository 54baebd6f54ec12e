//! Tasks that have not ended: their progress for those who wait, and the wish to cancel.

use crate::core::Core;
use crate::store::TaskRow;
use godwit_api::farm::Change;
use godwit_model::ids::TaskId;
use godwit_model::task::{Task, TaskState};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use time::OffsetDateTime;
use tokio::sync::watch;

/// Open tasks by id.
#[derive(Default)]
pub struct TaskBoard {
    open: Mutex<HashMap<TaskId, Open>>,
}

struct Open {
    task: watch::Receiver<Task>,
    cancel: watch::Sender<bool>,
}

impl TaskBoard {
    /// A task begins: the handle is what its worker reports by.
    pub fn add(&self, core: &Arc<Core>, row: TaskRow) -> Handle {
        let (task_tx, task) = watch::channel(row.task.clone());
        let (cancel, cancelled) = watch::channel(false);
        let id = row.task.id;
        let open = Open { task, cancel };
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, open);
        Handle {
            core: core.clone(),
            row: Mutex::new(row),
            task: task_tx,
            cancelled,
        }
    }

    /// A task has ended.
    pub fn remove(&self, id: TaskId) {
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&id);
    }

    /// Follows an open task.
    #[must_use]
    pub fn watch(&self, id: TaskId) -> Option<watch::Receiver<Task>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.get(&id).map(|open| open.task.clone())
    }

    /// Wishes that a task ends. Returns whether it was open.
    pub fn cancel(&self, id: TaskId) -> bool {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.get(&id)
            .is_some_and(|open| open.cancel.send(true).is_ok())
    }
}

/// A task, as its worker sees it.
pub struct Handle {
    core: Arc<Core>,
    row: Mutex<TaskRow>,
    task: watch::Sender<Task>,
    cancelled: watch::Receiver<bool>,
}

impl Handle {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.task.borrow().id
    }

    /// It is under way: shows the step and how far it is.
    pub fn progress(&self, percent: u8, step: impl Into<String>) {
        let step = step.into();
        let first = self.task.borrow().started.is_none();
        self.change(first, |task| {
            task.state = TaskState::Running;
            task.started.get_or_insert_with(OffsetDateTime::now_utc);
            task.percent = percent.min(99);
            task.step = step;
        });
    }

    /// It has ended.
    pub fn end(&self, state: TaskState, error: Option<String>, result: Option<String>) -> Task {
        self.change(true, |task| {
            task.state = state;
            task.error = error;
            task.result = result;
            task.ended = Some(OffsetDateTime::now_utc());
            task.step = state.to_string();
            if state == TaskState::Succeeded {
                task.percent = 100;
            }
        })
    }

    /// Returns when an operator wants the task to end, and not before.
    pub async fn cancelled(&self) {
        let mut cancelled = self.cancelled.clone();
        if cancelled.wait_for(|wish| *wish).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether an operator wants the task to end.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        *self.cancelled.borrow()
    }

    fn change(&self, durable: bool, change: impl FnOnce(&mut Task)) -> Task {
        let row = {
            let mut row = self.row.lock().unwrap_or_else(PoisonError::into_inner);
            change(&mut row.task);
            row.clone()
        };
        // Percent and step may be lost with the manager; beginnings and ends may not.
        if durable && let Err(error) = self.core.store.put_task(&row) {
            tracing::error!(%error, task = %row.task.id, "a task's state was not written down");
        }
        self.task.send_replace(row.task.clone());
        self.core.live.publish(Change::Task {
            task: row.task.clone(),
        });
        row.task
    }
}
