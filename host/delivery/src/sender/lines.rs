//! Events as lines, on standard output or another pipe.

use std::io::ErrorKind;
use std::sync::Arc;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Mutex;

use super::{Ended, Event, Load, Sender, Sent, line_fault, lines};
use crate::delivery::Outcome;

/// Writes lines. A reader that is slow is waited for.
pub struct LineSender<W> {
    writer: Mutex<W>,
    batch_max: usize,
}

impl LineSender<tokio::io::Stdout> {
    /// Standard output, with at most so many lines at once.
    pub fn stdout(batch_max: usize) -> Self {
        Self::new(tokio::io::stdout(), batch_max)
    }
}

impl<W> LineSender<W> {
    /// Any other writer.
    pub fn new(writer: W, batch_max: usize) -> Self {
        Self { writer: Mutex::new(writer), batch_max }
    }
}

impl<W: AsyncWrite + Send + Unpin + 'static> Sender for LineSender<W> {
    fn load(&self) -> Load {
        Load { batch_max: self.batch_max, calls_max: 1, timed: false }
    }

    async fn send(&self, batch: Vec<Arc<Event>>) -> Result<Sent, Ended> {
        let faults: Vec<_> = batch.iter().map(|event| line_fault(event)).collect();
        let whole = batch.iter().zip(&faults).filter(|(_, fault)| fault.is_none()).map(|(event, _)| event);
        let bytes = lines(whole);
        let mut writer = self.writer.lock().await;
        let written = match writer.write_all(&bytes).await {
            Ok(()) => writer.flush().await,
            Err(error) => Err(error),
        };
        match written {
            Ok(()) => {
                let outcomes = faults.into_iter().map(|fault| fault.unwrap_or(Outcome::Accepted)).collect();
                Ok(Sent { outcomes, mark: None })
            }
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Ended::Closed),
            // Half a line may be out: nothing that follows it could be read.
            Err(error) => Err(Ended::Broken(format!("the output cannot be written: {error}"))),
        }
    }
}
