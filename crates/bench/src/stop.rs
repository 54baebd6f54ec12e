//! How the bench is told to end early: a flag that everything which waits looks at.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;

use crate::error::BenchError;

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
    /// The future's result, unless the flag is raised first.
    ///
    /// # Errors
    /// [`BenchError::Interrupted`] if it is.
    pub async fn or<T>(&self, work: impl Future<Output = T>) -> Result<T, BenchError> {
        let mut receiver = self.0.clone();
        let raised = async move {
            if receiver.wait_for(|raised| *raised).await.is_err() {
                // Nobody can raise it any more.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            () = raised => Err(BenchError::Interrupted),
            result = work => Ok(result),
        }
    }

    /// Sleeps.
    ///
    /// # Errors
    /// [`BenchError::Interrupted`] if the flag is raised meanwhile.
    pub async fn sleep(&self, time: Duration) -> Result<(), BenchError> {
        self.or(tokio::time::sleep(time)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_raised_flag_ends_what_waits() {
        let (stopper, stop) = flag();
        assert!(stop.or(async { 1 }).await.is_ok_and(|value| value == 1));
        stopper.stop();
        let hour = Duration::from_secs(3600);
        assert!(matches!(
            stop.sleep(hour).await,
            Err(BenchError::Interrupted)
        ));
    }

    #[tokio::test]
    async fn a_flag_that_nobody_holds_stops_nothing() {
        let (stopper, stop) = flag();
        drop(stopper);
        assert!(stop.or(async { 2 }).await.is_ok());
    }
}
