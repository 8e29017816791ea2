//! What a process does for as long as it lives. Where any of it ends, so does the process: another one is started in its place,
//! while one that serves half would go on unnoticed.

use std::io;

use tokio::task::JoinSet;

use crate::{Error, Result};

#[derive(Default)]
pub(super) struct Served(JoinSet<(&'static str, io::Result<()>)>);

impl Served {
    /// Begins something, under this name.
    pub(super) fn spawn(&mut self, name: &'static str, task: impl Future<Output = io::Result<()>> + Send + 'static) {
        self.0.spawn(async move { (name, task.await) });
    }

    /// Does this as well.
    ///
    /// # Errors
    /// What ended meanwhile, and how.
    pub(super) async fn beside<T>(&mut self, work: impl Future<Output = T>) -> Result<T> {
        tokio::select! {
            done = work => Ok(done),
            why = self.fallen() => Err(why),
        }
    }

    async fn fallen(&mut self) -> Error {
        match self.0.join_next().await {
            None => std::future::pending().await,
            Some(Ok((name, Ok(())))) => Error::Integrity(format!("{name}: it has ended")),
            Some(Ok((name, Err(error)))) => Error::io(name)(error),
            Some(Err(error)) => Error::Integrity(format!("something that is served has ended: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic, clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn whatever_ends_or_panics_beside_the_work_ends_it_and_is_named() {
        let ended = async |task: fn() -> io::Result<()>| {
            let mut served = Served::default();
            served.spawn("lasts", std::future::pending());
            assert_eq!(served.beside(async { 7 }).await.unwrap(), 7);
            served.spawn("the run API", async move { task() });
            served.beside(std::future::pending::<()>()).await.unwrap_err().to_string()
        };
        assert_eq!(ended(|| Ok(())).await, "the run API: it has ended");
        assert!(ended(|| Err(io::ErrorKind::AddrInUse.into())).await.starts_with("the run API: "));
        assert!(ended(|| panic!("on purpose")).await.contains("panicked"));
    }
}
