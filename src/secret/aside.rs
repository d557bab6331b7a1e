//! Files beside the other tasks: a secret, or the config that names it, may lie on a disk that does not answer (a mount of a server
//! that is gone). Whoever reads there waits for so long and no longer, and one place costs one thread, however often it is tried.
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// What is not read within this can't be read; its turn behind others that read there included.
pub const READ_WITHIN: Duration = Duration::from_secs(30);

/// Why nothing was read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotRead {
    /// The disk does not answer.
    #[error("it was not read within {0:?}; see whether the disk that it lies on answers")]
    Late(Duration),
    /// A fault of ours.
    #[error("reading it broke off")]
    Broken,
}

/// Reads at a place, on a thread that may wait. What is read at the same place at the same time waits for its turn.
///
/// # Errors
/// Where it takes longer than [`READ_WITHIN`]. The thread may still wait then; whoever comes next waits for that one.
pub async fn aside<T: Send + 'static>(place: &str, read: impl FnOnce() -> T + Send + 'static) -> Result<T, NotRead> {
    within(READ_WITHIN, place, read).await
}

async fn within<T: Send + 'static>(
    limit: Duration,
    place: &str,
    read: impl FnOnce() -> T + Send + 'static,
) -> Result<T, NotRead> {
    let turn = turn(place);
    let reading = async move {
        let turn = turn.lock_owned().await;
        let thread = spawn_blocking(move || {
            let _turn = turn;
            read()
        });
        thread.await
    };
    timeout(limit, reading).await.map_err(|_| NotRead::Late(limit))?.map_err(|_| NotRead::Broken)
}

/// One lock for each place that was ever read.
fn turn(place: &str) -> Arc<tokio::sync::Mutex<()>> {
    static TURNS: LazyLock<Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>> = LazyLock::new(Mutex::default);
    TURNS.lock().unwrap_or_else(PoisonError::into_inner).entry(place.to_owned()).or_default().clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn a_disk_that_does_not_answer_costs_one_thread_and_delays_no_other_place() {
        let (let_go, hangs) = std::sync::mpsc::channel::<()>();
        let (hangs, tries) = (Arc::new(Mutex::new(hangs)), Arc::new(AtomicUsize::new(0)));
        let limit = Duration::from_millis(50);
        for _ in 0..5 {
            let (hangs, tries) = (Arc::clone(&hangs), Arc::clone(&tries));
            let read = move || {
                tries.fetch_add(1, Ordering::SeqCst);
                let _ = hangs.lock().unwrap().recv();
            };
            assert_eq!(within(limit, "/mnt/gone", read).await, Err(NotRead::Late(limit)));
        }
        assert_eq!(aside("/etc/here", || 7).await, Ok(7));
        assert_eq!(tries.load(Ordering::SeqCst), 1, "the others waited for their turn");
        drop(let_go);
        assert_eq!(aside("/mnt/gone", || 8).await, Ok(8), "the disk answers again");
    }
}
