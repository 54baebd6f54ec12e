//! The destination, as the source sees it: asked without pause until it has come to an end.

use super::clock::{Offset, offset};
use crate::host::facts::boot_id;
use crate::timings;
use godwit_api::agent::client::AgentClient;
use godwit_api::agent::{MigrationView, Phase};
use godwit_api::error::ErrorCode;
use godwit_model::ids::MigrationId;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// What was learnt of the destination.
#[derive(Debug)]
pub enum News {
    /// The offset of its clock.
    Offset(Offset),
    /// It has come to this end.
    Ended(Box<MigrationView>),
    /// It does not know the migration: it has lost its copy of the VM, or never had one.
    Unknown(String),
}

/// Asks the destination in a task of its own, which ends with this value.
pub struct PeerWatch {
    news: mpsc::Receiver<News>,
    task: AbortHandle,
}

impl PeerWatch {
    /// Begins to ask.
    #[must_use]
    pub fn start(client: AgentClient, id: MigrationId) -> Self {
        let (sender, news) = mpsc::channel(4);
        let task = tokio::spawn(watch(client, id, sender)).abort_handle();
        Self { news, task }
    }

    /// The next news; none after the end was told.
    pub async fn next(&mut self) -> Option<News> {
        self.news.recv().await
    }
}

impl Drop for PeerWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch(client: AgentClient, id: MigrationId, news: mpsc::Sender<News>) {
    if let Some(offset) = offset(&client, &boot_id()).await {
        let _ = news.send(News::Offset(offset)).await;
    }
    let mut known: Option<Phase> = None;
    loop {
        match client.migration(id, known, timings::PEER_POLL).await {
            Ok(view) if view.phase.is_final() => {
                let _ = news.send(News::Ended(Box::new(view))).await;
                return;
            }
            Ok(view) => known = Some(view.phase),
            Err(error) if error.code() == Some(ErrorCode::NotFound) => {
                let _ = news.send(News::Unknown(error.to_string())).await;
                // It may know again: an agent that restarts finds what it had claimed.
                tokio::time::sleep(timings::STORAGE_AGAIN).await;
            }
            Err(error) => {
                tracing::debug!(%id, %error, "the destination does not answer");
                tokio::time::sleep(timings::PEER_AGAIN).await;
            }
        }
    }
}
