//! How a run is told to end early: a flag that everything which waits looks at.

use std::future::Future;

use tokio::sync::watch;

/// The end of the flag that is looked at. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<bool>);

/// The end of the flag that is raised.
#[derive(Debug)]
pub struct Stopper(watch::Sender<bool>);

/// A flag that is not raised yet.
#[must_use]
pub fn flag() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(false);
    (Stopper(sender), Stop(receiver))
}

impl Stopper {
    /// Raises the flag for good.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Stop {
    /// Whether the flag is raised.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the flag is raised; for ever if nobody holds the other end any more.
    pub async fn raised(&self) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|raised| *raised).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The future's result, or `None` if the flag was raised first.
    pub async fn or<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.raised() => None,
            result = work => Some(result),
        }
    }
}
