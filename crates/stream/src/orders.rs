//! The agent's orders, as the relays await them. Only this file can make the [`Release`] that sending the tail needs.

use tokio::sync::mpsc;

use crate::Command;

/// The agent's permission to let the tail go: QEMU has completed. Held by value by whoever sends the tail.
#[derive(Debug)]
pub struct Release(());

/// Why a relay stops without a fault of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// The agent said so.
    #[error("cancelled")]
    Cancelled,
    /// Nobody can give orders any more.
    #[error("the agent is gone")]
    AgentGone,
}

/// Commands from the agent. The channel's end means that the agent is gone.
#[derive(Debug)]
pub struct Orders {
    commands: mpsc::Receiver<Command>,
    release: bool,
}

impl Orders {
    /// Orders that come out of a channel.
    #[must_use]
    pub fn new(commands: mpsc::Receiver<Command>) -> Self {
        Self {
            commands,
            release: false,
        }
    }

    /// Waits until the relay has to stop. A Release that comes meanwhile is kept.
    pub async fn stop(&mut self) -> Stop {
        loop {
            match self.commands.recv().await {
                Some(Command::Release) => self.release = true,
                Some(Command::Cancel) => return Stop::Cancelled,
                None => return Stop::AgentGone,
            }
        }
    }

    /// Waits for the Release.
    pub async fn release(&mut self) -> Result<Release, Stop> {
        while !self.release {
            match self.commands.recv().await {
                Some(Command::Release) => self.release = true,
                Some(Command::Cancel) => return Err(Stop::Cancelled),
                None => return Err(Stop::AgentGone),
            }
        }
        Ok(Release(()))
    }

    /// Waits until the agent is gone; it can no longer cancel.
    pub async fn gone(&mut self) -> Stop {
        while self.commands.recv().await.is_some() {}
        Stop::AgentGone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_release_that_comes_early_is_kept_and_a_cancel_before_it_wins() {
        let (send, receive) = mpsc::channel(4);
        let mut orders = Orders::new(receive);
        send.send(Command::Release).await.unwrap();
        tokio::select! {
            biased;
            stop = orders.stop() => panic!("stopped: {stop}"),
            () = tokio::task::yield_now() => {}
        }
        assert!(orders.release().await.is_ok());

        let (send, receive) = mpsc::channel(4);
        let mut orders = Orders::new(receive);
        send.send(Command::Cancel).await.unwrap();
        send.send(Command::Release).await.unwrap();
        assert_eq!(orders.release().await.unwrap_err(), Stop::Cancelled);

        let (send, receive) = mpsc::channel(4);
        drop(send);
        assert_eq!(
            Orders::new(receive).release().await.unwrap_err(),
            Stop::AgentGone
        );
    }
}
