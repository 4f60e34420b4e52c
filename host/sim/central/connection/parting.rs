//! How a connection ends, as the simulator does it: in good order, or in one of the ways that faults
//! ask for. What was not sent is let go before the peer can know of the end. Key function:
//! [`Connection::part`].

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout_at};

use super::{CLOSE_WAIT, Connection, End, STOP_WAIT, Step, write};
use crate::sim::central::faults::Ending;
use crate::sim::central::websocket::{FromClient, push_close};

impl Connection {
    /// Ends it.
    pub(super) async fn part(mut self, end: End) {
        let stopping = self.terms.stop.borrow().is_some();
        let deadline = Instant::now() + if stopping { STOP_WAIT } else { CLOSE_WAIT };
        let whole = match &end {
            End::Gone(_) => {
                self.note_broken();
                false
            }
            // What was begun comes first; only the peer can make an end in the middle of it.
            _ => timeout_at(deadline, self.end_piece()).await.is_ok_and(|written| written),
        };
        self.let_go();
        if !matches!(end, End::Ours(Ending::Silence)) {
            // Whoever sees the end may come back at once.
            self.terms.pass = None;
        }
        let parted = match end {
            End::Ours(Ending::Silence) => return self.be_silent().await,
            End::Ours(Ending::Reset) => return self.reset(),
            _ if !whole => return,
            End::Ours(Ending::Truncate) => timeout_at(deadline, self.truncate()).await,
            End::Ours(Ending::Close { code, reason }) => {
                timeout_at(deadline, self.close(code, reason, true)).await
            }
            End::ByPeer(code) => {
                timeout_at(deadline, self.close(code.or(Some(1000)), "", false)).await
            }
            End::Gone(_) => return,
        };
        if parted.is_err() {
            tracing::debug!(stream = self.terms.stream, "the peer did not close");
        }
    }

    /// Writes what is left of a piece, and counts it; false when that fails.
    async fn end_piece(&mut self) -> bool {
        while !self.piece.is_empty() || self.flushing {
            match write(&mut self.writer, &self.piece).await {
                Step::Written(Ok(length)) if length > 0 => self.note_written(length),
                Step::Flushed(Ok(())) => drop(self.note_flushed()),
                _ => return false,
            }
        }
        true
    }

    /// Gives back what was not sent, or gives it up: the ledger waits for it.
    fn let_go(&mut self) {
        self.queue.close();
        let mut rest: Vec<_> = self.outgoing.drain(..).filter_map(|o| o.rest()).collect();
        while let Ok(delivery) = self.queue.try_recv() {
            rest.push(delivery);
        }
        if let Some(share) = self.terms.share.take() {
            self.terms.hub.give_back(share, rest);
        }
    }

    /// The simulator's part of a close, then the peer's.
    async fn close(&mut self, code: Option<u16>, reason: &str, wait_for_close: bool) {
        let mut frame = Vec::new();
        push_close(&mut frame, code, reason);
        if self.writer.write_all(&frame).await.is_err() || self.writer.flush().await.is_err() {
            return;
        }
        if wait_for_close {
            self.wait_for_close().await;
        }
        self.shut_down().await;
    }

    /// Says close_notify, then hears the peer out: closing with its bytes unread would reset the
    /// connection, and that could cost the peer what it has not read yet.
    async fn shut_down(&mut self) {
        if self.writer.shutdown().await.is_ok() {
            self.hear_out().await;
        }
    }

    async fn hear_out(&mut self) {
        let mut buffer = [0; 4_096];
        while self.reader.read(&mut buffer).await.is_ok_and(|length| length > 0) {}
    }

    /// Reads until the peer's Close, or its end.
    async fn wait_for_close(&mut self) {
        let mut buffer = [0; 4_096];
        loop {
            match self.incoming.next() {
                Ok(Some(FromClient::Close(_))) | Err(_) => return,
                Ok(Some(_)) => continue,
                Ok(None) => {}
            }
            match self.reader.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(length) => self.incoming.extend(&buffer[..length]),
            }
        }
    }

    /// Ends the TCP connection by a reset: what the peer has not read may be lost to it.
    fn reset(self) {
        let Connection { reader, writer, .. } = self;
        let io = reader.unsplit(writer);
        if let Err(error) = io.get_ref().0.set_zero_linger() {
            tracing::warn!(%error, "a connection could not be reset");
        }
    }

    /// Says nothing more, and hears nothing, until the peer goes away or the simulator stops.
    async fn be_silent(mut self) {
        let mut stop = self.terms.stop.clone();
        tokio::select! {
            () = self.hear_out() => {}
            // Without the sender the server is gone, and that is a stop too.
            _ = stop.wait_for(Option::is_some) => {}
        }
    }

    /// Writes the first half of a frame, then ends.
    async fn truncate(&mut self) {
        let half = std::mem::take(&mut self.half);
        if self.writer.write_all(&half).await.is_ok() {
            self.shut_down().await;
        }
    }
}

/// The first half of a frame; its header promises the whole.
pub(super) fn half(frame: &[u8]) -> Bytes {
    Bytes::copy_from_slice(&frame[..frame.len().div_ceil(2)])
}
