//! Waiting for what will come, without a guess how soon: the machine may be busy.

use std::time::{Duration, Instant};

/// What has not come by then will not come.
const PATIENCE: Duration = Duration::from_secs(240);
const LOOK: Duration = Duration::from_millis(200);

/// Asks again and again until there is an answer.
///
/// # Panics
/// There was none for minutes.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain: {what}");
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits until something is so.
///
/// # Panics
/// It was not for minutes.
pub async fn until_so(what: &str, mut ask: impl AsyncFnMut() -> bool) {
    until(what, async || ask().await.then_some(())).await;
}
