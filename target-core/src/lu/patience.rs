//! For work that no initiator can be told BUSY about, because it does many writes for one command, or none waits for it.

use std::time::Duration;

use tokio::time::sleep;

use crate::block::BlockError;

/// Try again for as long as the peer of a mirrored volume does not take it in time, unless `given_up` says otherwise.
pub(super) async fn patiently<T, F: Future<Output = Result<T, BlockError>>>(
    mut attempt: impl FnMut() -> F,
    given_up: impl Fn() -> bool,
) -> Result<T, BlockError> {
    loop {
        match attempt().await {
            Err(BlockError::Stalled) if !given_up() => sleep(PAUSE).await,
            done => return done,
        }
    }
}

/// An attempt has waited for `max_stall` already; this is for those that are refused at once.
const PAUSE: Duration = Duration::from_millis(100);
