use std::{future::Future, pin::Pin};

use ocicore::Cx;
use tokio::sync::oneshot;

use super::cancellable;
use crate::{Error, Result};

type Undoing = Pin<Box<dyn Future<Output = Result<()>> + Send>>;
type Undo<T> = Box<dyn FnOnce(T) -> Undoing + Send>;

/// Makes something, and unmakes it if nobody waits for it any more.
///
/// A request that is dropped in the middle may still be served, and then nobody would know the id of
/// what it made. So the request runs to its end on its own.
pub(super) async fn or_undone<T: Send + 'static>(
    cx: &Cx,
    make: impl Future<Output = Result<T>> + Send + 'static,
    undo: impl FnOnce(T) -> Undoing + Send + 'static,
) -> Result<T> {
    cx.check()?;
    let (sender, receiver) = oneshot::channel();
    tokio::spawn(async move {
        let made = make.await.map(|value| Armed {
            armed: Some((value, Box::new(undo) as Undo<T>)),
        });
        // If the receiver is gone, what was made is dropped here.
        drop(sender.send(made));
    });
    cancellable(cx, async {
        let made = receiver.await.unwrap_or(Err(Error::Cancelled))?;
        Ok(made.disarm())
    })
    .await
}

/// Undoes on drop.
struct Armed<T: Send + 'static> {
    armed: Option<(T, Undo<T>)>,
}

impl<T: Send + 'static> Armed<T> {
    fn disarm(mut self) -> T {
        let (value, _) = self.armed.take().expect("it is taken here or by drop");
        value
    }
}

impl<T: Send + 'static> Drop for Armed<T> {
    fn drop(&mut self) {
        let Some((value, undo)) = self.armed.take() else {
            return;
        };
        let undoing = undo(value);
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move {
                if let Err(error) = undoing.await {
                    tracing::warn!(%error, "could not undo what was cancelled");
                }
            })),
            Err(_) => tracing::warn!("no runtime to undo what was cancelled"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_made_after_a_cancel_is_undone() {
        let (go, gate) = oneshot::channel::<()>();
        let (note, noted) = oneshot::channel();
        let cx = Cx::default();
        let making = tokio::spawn({
            let cx = cx.clone();
            async move {
                let make = async move {
                    gate.await.unwrap();
                    Ok(7)
                };
                or_undone(&cx, make, move |value| {
                    Box::pin(async move {
                        note.send(value).unwrap();
                        Ok(())
                    })
                })
                .await
            }
        });
        tokio::task::yield_now().await;
        cx.cancel();
        assert!(matches!(making.await.unwrap(), Err(Error::Cancelled)));
        go.send(()).unwrap();
        assert_eq!(noted.await.unwrap(), 7);
    }

    #[tokio::test]
    async fn what_is_waited_for_stays() {
        let made = or_undone(&Cx::default(), async { Ok(7) }, |_| unreachable!()).await;
        assert_eq!(made.unwrap(), 7);
    }
}
