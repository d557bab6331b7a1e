//! The third verb, commit: what is in the books becomes durable, and what waited for that begins. It may take the disk seconds:
//! whoever only looks is answered meanwhile, from what is durable.
use super::Engine;
use crate::clock;
use crate::store::{Batch, Store, StoreError};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

/// A commit that takes longer is felt by who asks meanwhile.
const FELT: Duration = Duration::from_millis(50);
/// So few waiting notices are counted at once after each commit that changes them.
const COUNTED: u64 = 1000;

impl Engine {
    /// Commit: what is in the books becomes durable; then what waited for that begins.
    pub(super) async fn commit(&mut self) -> Result<(), StoreError> {
        self.keep_refused();
        if let Some(batch) = self.books.take_batch(self.clock.now(), !self.clock.is_suspect()) {
            let (told, began) = (!batch.outbox_put.is_empty(), clock::Awake::now());
            let moved = told || !batch.outbox_drop.is_empty();
            let (batch, written) = self.write(batch).await;
            match written {
                Ok(()) => {
                    self.books.is_durable();
                    self.disk_took(began.elapsed(), self.clock.now());
                }
                Err(error @ StoreError::Unwritable { .. }) => {
                    self.wait_for_disk(batch, error.to_string(), self.clock.now());
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
            if began.elapsed() >= FELT || (moved && self.outbox.pending < COUNTED) {
                // Whoever asks during the next commit can't wait for these.
                self.count_outbox();
            }
            if told || self.books.dirty {
                // New rows are to be sent now.
                let _ = self.events.try_send(super::event::Event::Due);
            }
        }
        self.blocked.settle();
        std::mem::take(&mut self.replies).into_iter().for_each(|it| it(None));
        for _ in 0..std::mem::take(&mut self.noted) {
            fail_point!(NoticeNoted);
        }
        self.forget_answers();
        for effect in std::mem::take(&mut self.after_commit) {
            effect();
        }
        Ok(())
    }

    /// What the answers of creates meant is durable. One after the other: each takes the disk a while.
    fn forget_answers(&mut self) {
        let ended = std::mem::take(&mut self.books.ended);
        if ended.is_empty() {
            return;
        }
        let escrow = self.books.store.escrow().clone();
        tokio::task::spawn_blocking(move || {
            for token in ended {
                if let Err(error) = escrow.forget(&token) {
                    tracing::warn!(%token, %error, "an answer in escrow that was recorded can't be deleted");
                }
            }
        });
    }

    /// The state's calls block, and an fdatasync may take long. Gives the batch back.
    async fn write(&mut self, batch: Batch) -> (Batch, Result<(), StoreError>) {
        self.writing = true;
        let mut done = pin!(write(Arc::clone(&self.books.store), batch));
        let written = loop {
            tokio::select! {
                biased;
                written = &mut done => break written,
                Some(request) = self.glances.recv() => self.answer(request),
            }
        };
        self.writing = false;
        written
    }
}

async fn write(store: Arc<Store>, batch: Batch) -> (Batch, Result<(), StoreError>) {
    let done = tokio::task::spawn_blocking(move || {
        let written = store.commit(&batch);
        (batch, written)
    });
    let broken = |why: String| (Batch::default(), Err(StoreError::Encode { what: "the batch".into(), why }));
    done.await.unwrap_or_else(|panic| broken(panic.to_string()))
}
