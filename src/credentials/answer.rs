//! One connection: a key, or more than anybody takes for one.
use super::address::{Asked, parse};
use crate::engine::handle::{Fetched, Handle, Receipt, Request};
use crate::secret::Secret;
use futures_util::FutureExt;
use rustix::net::{SocketAddrUnix, getpeername};
use std::panic::AssertUnwindSafe;
use std::sync::LazyLock;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How long a unit is held that can't be answered yet: systemd gives it 90 s to start.
pub const HELD_WITHIN: Duration = Duration::from_secs(30);
/// How often it is asked meanwhile whether it can be.
pub const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long a unit may take to read its key.
pub const GIVE_WITHIN: Duration = Duration::from_secs(10);
/// What a unit gets that is refused, in bytes: systemd takes 1 MiB for a credential, and starts no unit that has more.
pub const REFUSAL_BYTES: usize = (1 << 20) + (64 << 10);
/// How long it may take to read that.
pub const REFUSE_WITHIN: Duration = Duration::from_secs(30);

/// What a refusal consists of, for whoever looks at it.
const REFUSAL: &str = "rekeyd refuses this credential; its log says why\n";
/// So much of it at a time: no refusal is in memory as a whole.
static CHUNK: LazyLock<String> = LazyLock::new(|| REFUSAL.repeat(256));

/// Answers root.
pub(super) async fn answer(mut stream: UnixStream, engine: Handle, stop: CancellationToken) {
    let Some(asked) = asked(&stream) else { return refuse_nameless(stream).await };
    // Whatever breaks down here, no unit is started with nothing.
    let fetched = AssertUnwindSafe(fetch(&asked, &engine, &stop)).catch_unwind().await;
    let refused = match fetched {
        Ok(Ok((receipt, secret))) => match give(&mut stream, &secret).await {
            Ok(()) => return drop(engine.requests.send(Request::CredentialRead(receipt)).await),
            Err(why) => why,
        },
        Ok(Err(why)) => why,
        Err(_) => "rekeyd itself broke down; please report this".to_owned(),
    };
    refuse_unit(stream, asked, &refused).await;
}

/// Refuses root, whatever it wants.
pub(super) async fn refuse_root(stream: UnixStream, why: &str) {
    match asked(&stream) {
        Some(asked) => refuse_unit(stream, asked, why).await,
        None => refuse_nameless(stream).await,
    }
}

async fn refuse_unit(mut stream: UnixStream, asked: Asked, why: &str) {
    let Asked { unit, credential } = asked;
    tracing::warn!(unit, credential, why, "a unit gets no key, and does not start");
    refuse(&mut stream).await;
}

async fn refuse_nameless(mut stream: UnixStream) {
    tracing::warn!("a connection to the credential socket says not for which unit; it is refused");
    refuse(&mut stream).await;
}

/// What the other end says that it wants.
fn asked(stream: &UnixStream) -> Option<Asked> {
    // What tokio makes of an accepted connection's address leaves abstract ones out.
    let address = SocketAddrUnix::try_from(getpeername(stream).ok()??).ok()?;
    address.abstract_name().and_then(parse)
}

/// Refuses somebody who is not root, whatever he calls himself.
pub(super) async fn refuse_stranger(mut stream: UnixStream) {
    let uid = stream.peer_cred().map(|it| it.uid()).ok();
    tracing::warn!(uid, "only root may fetch keys; refused");
    refuse(&mut stream).await;
}

/// Asks until there is an answer, for as long as may be.
async fn fetch(asked: &Asked, engine: &Handle, stop: &CancellationToken) -> Result<(Receipt, Secret), String> {
    let mut why = "the engine does not answer".to_owned();
    let answered = async {
        loop {
            let (unit, credential) = (asked.unit.clone(), asked.credential.clone());
            match engine.ask(|reply| Request::Credential { unit, credential, reply }).await {
                Ok(Fetched::Here(receipt, secret)) => return Ok((receipt, secret)),
                Ok(Fetched::Refused(why)) => return Err(why),
                Err(stopped) => return Err(stopped.to_string()),
                Ok(Fetched::Hold(reason)) => {
                    if reason != why {
                        tracing::info!(
                            unit = asked.unit,
                            credential = asked.credential,
                            why = reason,
                            "a unit waits for its key"
                        );
                        why = reason;
                    }
                }
            }
            sleep(LOOK_EVERY).await;
        }
    };
    let ended = tokio::select! {
        ended = timeout(HELD_WITHIN, answered) => ended.ok(),
        () = stop.cancelled() => Some(Err("the daemon is stopping".to_owned())),
    };
    ended.unwrap_or_else(|| Err(format!("{why}; it waited for {} s", HELD_WITHIN.as_secs())))
}

/// Hands over the key, and nothing behind it.
async fn give(stream: &mut UnixStream, secret: &Secret) -> Result<(), String> {
    if secret.is_empty() {
        return Err("the key is empty".to_owned());
    }
    let given = timeout(GIVE_WITHIN, async {
        stream.write_all(secret.expose()).await?;
        stream.shutdown().await
    });
    match given.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(format!("it went away: {error}")),
        Err(_) => Err(format!("it did not read its key within {} s", GIVE_WITHIN.as_secs())),
    }
}

/// Sends more than a credential may have.
async fn refuse(stream: &mut UnixStream) {
    let sent = timeout(REFUSE_WITHIN, async {
        let mut left = REFUSAL_BYTES;
        while left > 0 {
            let part = &CHUNK.as_bytes()[..left.min(CHUNK.len())];
            stream.write_all(part).await?;
            left -= part.len();
        }
        stream.shutdown().await
    });
    // Whoever does not want to hear it has gone.
    let _ = sent.await;
}
