//! How VMs' processes end, as a stream that survives the agent's and the keeper's restarts.

use super::{
    client::{Client, ClientError, Link},
    protocol::{Exit, Reply, Request, Seen},
};
use uuid::Uuid;

/// What happened to the keeper's children.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeeperEvent {
    /// One has ended.
    Exited(Exit),
    /// The keeper that was watched is gone and another one answers. All processes of the
    /// former one were killed with it; which of them are gone already is for
    /// [`vm_process_gone`](super::vm_process_gone) to say.
    Replaced {
        /// The new keeper.
        keeper: Uuid,
    },
}

/// The stream of exits, on a connection of its own.
pub struct Exits {
    client: Client,
    link: Option<Link>,
    seen: Seen,
}

impl Exits {
    pub(super) fn new(client: Client, seen: Seen) -> Self {
        Self {
            client,
            link: None,
            seen,
        }
    }

    /// Up to where this stream has come. An agent that stores it goes on from here after its
    /// own restart, and so learns of what happened in between.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.seen
    }

    /// The next event; waits for it. Connects again when the connection breaks, and starts a
    /// new keeper if the client may. Safe to drop half-way: nothing is lost.
    ///
    /// # Errors
    /// If there is no keeper and none can be started. May be called again, later.
    pub async fn next(&mut self) -> Result<KeeperEvent, ClientError> {
        loop {
            let link = match &mut self.link {
                Some(link) => link,
                None => {
                    let link = self.watch().await?;
                    self.link.insert(link)
                }
            };
            let keeper = link.keeper;
            if self.seen.keeper != Some(keeper) {
                let replaced = self.seen.keeper.is_some();
                self.seen = Seen {
                    keeper: Some(keeper),
                    seq: 0,
                };
                if replaced {
                    return Ok(KeeperEvent::Replaced { keeper });
                }
            }
            match link.next().await {
                Ok(Reply::Exited(exit)) => {
                    self.seen.seq = exit.seq;
                    return Ok(KeeperEvent::Exited(exit));
                }
                Ok(_) => {
                    self.link = None;
                    return Err(ClientError::Garbage);
                }
                // The keeper, or only this connection, is gone: find out by connecting.
                Err(ClientError::Interrupted(_)) => self.link = None,
                Err(error) => {
                    self.link = None;
                    return Err(error);
                }
            }
        }
    }

    async fn watch(&mut self) -> Result<Link, ClientError> {
        let mut link = self.client.link().await?;
        match link.ask(&Request::Watch(self.seen)).await? {
            Reply::Done => Ok(link),
            Reply::Refused(refused) => Err(refused.into()),
            _ => Err(ClientError::Garbage),
        }
    }
}
