//! Work on a volume: in its turn, and to its end even when the caller hangs up.

use super::observe::subject;
use crate::volume::{Error, Turn, Turns};

/// Takes the turn of a volume or snapshot, and tells the log that the call is about it. Background work
/// is waited for.
pub(super) async fn take_turn(turns: &Turns, id: &str) -> Result<Turn, Error> {
    subject(id);
    if let Ok(turn) = turns.take(id) {
        return Ok(turn);
    }
    let (turns, id) = (turns.clone(), id.to_owned());
    let waited = tokio::task::spawn_blocking(move || turns.take_after_background(&id));
    waited.await.unwrap_or_else(|err| Err(Error::uncertain("waiting for the volume", err)))
}

/// Does `work` while `turn` is held. Dropping the returned future (the caller hung up, or its
/// deadline passed) stops neither: a repeated call is told that the volume is busy, until it is
/// done.
///
/// # Errors
/// Those of the work; a panic in it is [`Error::Uncertain`], and gives the turn back.
pub(super) async fn to_the_end<T: Send + 'static>(
    turn: Turn,
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    let task = tokio::spawn(async move {
        let _turn = turn;
        work.await
    });
    task.await.unwrap_or_else(|err| Err(Error::uncertain("the work on the volume", err)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;
    use crate::volume::Turns;

    #[tokio::test]
    async fn work_goes_on_when_the_caller_hangs_up() {
        let turns = Turns::default();
        let (go, wait) = oneshot::channel();
        let (done, finished) = oneshot::channel();
        let call = to_the_end(turns.take("v").unwrap(), async move {
            wait.await.unwrap();
            done.send(()).unwrap();
            Ok(())
        });
        assert!(tokio::time::timeout(Duration::from_millis(10), call).await.is_err());
        assert!(matches!(turns.take("v"), Err(Error::Busy(_))));
        go.send(()).unwrap();
        finished.await.unwrap();
    }

    #[tokio::test]
    async fn a_panic_frees_the_volume() {
        let turns = Turns::default();
        let work = async { panic!("a bug") };
        let err = to_the_end::<()>(turns.take("v").unwrap(), work).await.unwrap_err();
        assert!(matches!(err, Error::Uncertain { .. }));
        turns.take("v").unwrap();
    }
}
