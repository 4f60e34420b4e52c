//! One open WebSocket: writes what its stream's clock hands it, answers pings, closes in good
//! order. Key type: [`Connection`].

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::batch::Delivery;
use super::outgoing::Outgoing;
use super::tokens::Revocation;
use super::websocket::{FromClient, Incoming, Opcode, Violation, push_close, push_control};

/// A connection that takes nothing for so long is dropped.
const STALL: Duration = Duration::from_secs(60);

/// How long the peer has for its part of a close, and a started piece to get out before one.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// The same when the simulator stops, which must not take long.
const STOP_WAIT: Duration = Duration::from_secs(2);

/// Pings of a client that does not read its pongs are answered up to here.
const MAX_CONTROL: usize = 16 * 1024;

/// Everything a connection needs to know.
pub(super) struct Terms {
    /// Name of the stream, for the log.
    pub stream: &'static str,
    /// The stream's place among those served.
    pub index: usize,
    /// Which payloads it wants; `None` for all.
    pub filter: Option<Arc<[bool]>>,
    /// When its token is worn out.
    pub until: Instant,
    /// Generation of its token.
    pub generation: u64,
    /// Tells of tokens revoked.
    pub revoked: watch::Receiver<Revocation>,
    /// When to close because the simulator stops: later than the stop itself, so that what is
    /// queued can still go out.
    pub stop: watch::Receiver<Option<Instant>>,
}

/// An open connection.
pub(super) struct Connection<S> {
    terms: Terms,
    reader: tokio::io::ReadHalf<S>,
    writer: tokio::io::WriteHalf<S>,
    incoming: Incoming,
    queue: mpsc::Receiver<Delivery>,
    /// The delivery being written, and the piece of it (or of `control`) that is.
    current: Option<Outgoing>,
    piece: Bytes,
    piece_marks: usize,
    flushing: bool,
    control: Vec<u8>,
    progress: Instant,
}

/// Why a connection ends.
#[derive(Debug)]
enum End {
    /// The simulator closes it.
    Close(u16, &'static str),
    /// The peer did.
    ByPeer(Option<u16>),
    /// It is broken, or takes nothing.
    Gone(String),
}

/// What happened.
enum Step {
    Read(std::io::Result<usize>),
    Written(std::io::Result<usize>),
    Flushed(std::io::Result<()>),
    Delivered(Option<Delivery>),
    CloseNow(&'static str),
    Stalled,
}

impl<S: AsyncRead + AsyncWrite> Connection<S> {
    /// A connection just upgraded; `early` is what the client sent along with its request.
    pub fn new(io: S, early: &[u8], queue: mpsc::Receiver<Delivery>, terms: Terms) -> Self {
        let (reader, writer) = tokio::io::split(io);
        let mut incoming = Incoming::default();
        incoming.extend(early);
        Connection {
            terms,
            reader,
            writer,
            incoming,
            queue,
            current: None,
            piece: Bytes::new(),
            piece_marks: 0,
            flushing: false,
            control: Vec::new(),
            progress: Instant::now(),
        }
    }

    /// Serves it until it ends.
    pub async fn run(mut self) {
        tracing::debug!(stream = self.terms.stream, "open");
        let end = self.serve().await;
        // What is left is nobody's any more: the ledger waits for it.
        self.current = None;
        self.queue.close();
        while self.queue.try_recv().is_ok() {}
        match &end {
            End::Gone(why) => tracing::info!(stream = self.terms.stream, why, "lost"),
            End::Close(_, why) => tracing::debug!(stream = self.terms.stream, why, "closing"),
            End::ByPeer(_) => tracing::debug!(stream = self.terms.stream, "closed by the peer"),
        }
        let stopping = self.terms.stop.borrow().is_some();
        let deadline = Instant::now() + if stopping { STOP_WAIT } else { CLOSE_WAIT };
        if timeout_at(deadline, self.finish(end)).await.is_err() {
            tracing::debug!(stream = self.terms.stream, "the peer did not close");
        }
    }

    async fn serve(&mut self) -> End {
        let mut buffer = [0; 4_096];
        let mut closing = None;
        loop {
            if let Some(end) = self.handle_incoming() {
                return end;
            }
            let free = self.piece.is_empty() && !self.flushing;
            if free
                && !self.next_piece(closing.is_some())
                && let Some(reason) = closing
            {
                return End::Close(1000, reason);
            }
            match self.step(&mut buffer, closing.is_some()).await {
                Step::Read(Ok(0)) => return End::Gone("the peer closed without a Close".into()),
                Step::Read(Ok(length)) => self.incoming.extend(&buffer[..length]),
                Step::Written(Ok(length)) => self.note_written(length),
                Step::Flushed(Ok(())) => {
                    if let Some(reason) = self.note_flushed() {
                        return End::Close(1000, reason);
                    }
                }
                Step::Read(Err(error)) | Step::Written(Err(error)) | Step::Flushed(Err(error)) => {
                    return End::Gone(error.to_string());
                }
                Step::Delivered(Some(delivery)) => {
                    self.current = Some(Outgoing::new(delivery, &self.terms.filter));
                }
                // The clock has let go of it: the simulator stops, and all is written.
                Step::Delivered(None) => return End::Close(1000, "the simulator stops"),
                Step::CloseNow(reason) => {
                    closing = Some(reason);
                    self.progress = Instant::now();
                }
                Step::Stalled => return End::Gone("the peer takes nothing".into()),
            }
        }
    }

    /// Waits for the next thing to happen.
    async fn step(&mut self, buffer: &mut [u8], closing: bool) -> Step {
        let busy = !self.piece.is_empty() || self.flushing;
        let idle = !busy && self.current.is_none() && !closing;
        let patience = if closing { CLOSE_WAIT } else { STALL };
        tokio::select! {
            biased;
            reason = close_now(&mut self.terms), if !closing => Step::CloseNow(reason),
            read = self.reader.read(buffer) => Step::Read(read),
            step = write(&mut self.writer, &self.piece), if busy => step,
            delivery = self.queue.recv(), if idle => Step::Delivered(delivery),
            () = sleep_until(self.progress + patience), if busy => Step::Stalled,
        }
    }

    fn handle_incoming(&mut self) -> Option<End> {
        loop {
            match self.incoming.next() {
                Ok(None) => return None,
                Ok(Some(FromClient::Other)) => {}
                Ok(Some(FromClient::Ping(payload))) if self.control.len() < MAX_CONTROL => {
                    push_control(&mut self.control, Opcode::Pong, &payload);
                }
                Ok(Some(FromClient::Ping(_))) => {}
                Ok(Some(FromClient::Close(code))) => return Some(End::ByPeer(code)),
                Err(violation) => return Some(End::from(violation)),
            }
        }
    }

    /// Takes up the next piece to write; false when there is none.
    fn next_piece(&mut self, closing: bool) -> bool {
        if !self.control.is_empty() {
            self.piece = Bytes::from(std::mem::take(&mut self.control));
            self.piece_marks = 0;
        } else if let Some(current) = self.current.as_mut().filter(|_| !closing) {
            (self.piece, self.piece_marks) = current.next_piece();
            // A delivery of no bytes may still say to close.
            self.flushing = self.piece.is_empty();
        } else {
            return false;
        }
        self.progress = Instant::now();
        true
    }

    fn note_written(&mut self, length: usize) {
        self.piece.advance(length);
        self.flushing = self.piece.is_empty();
        self.progress = Instant::now();
    }

    /// A piece is out; says why to close, if that was the last.
    fn note_flushed(&mut self) -> Option<&'static str> {
        self.flushing = false;
        let current = self.current.as_mut()?;
        current.count(self.piece_marks);
        self.piece_marks = 0;
        if !current.is_done() {
            return None;
        }
        self.current.take().and_then(|current| current.delivery.then_close)
    }

    /// The simulator's part of a close, then the peer's.
    async fn finish(&mut self, end: End) {
        let (close, wait_for_close) = match end {
            End::Close(code, reason) => (Some((code, reason)), true),
            End::ByPeer(code) => (Some((code.unwrap_or(1000), "")), false),
            End::Gone(_) => (None, false),
        };
        let Some((code, reason)) = close else { return };
        // What was begun comes first; only the peer can make an end in the middle of it.
        let mut frame = Vec::from(std::mem::take(&mut self.piece));
        push_close(&mut frame, code, reason);
        if self.writer.write_all(&frame).await.is_err() || self.writer.flush().await.is_err() {
            return;
        }
        if wait_for_close {
            self.wait_for_close().await;
        }
        // Says close_notify, then hears the peer out: closing with its bytes unread would reset the
        // connection, and that could cost the peer what it has not read yet.
        let mut buffer = [0; 4_096];
        if self.writer.shutdown().await.is_ok() {
            while self.reader.read(&mut buffer).await.is_ok_and(|length| length > 0) {}
        }
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
}

/// Writes some of a piece, or, when nothing is left of it, sees that it is out.
async fn write(writer: &mut (impl AsyncWrite + Unpin), piece: &[u8]) -> Step {
    if piece.is_empty() {
        Step::Flushed(writer.flush().await)
    } else {
        Step::Written(writer.write(piece).await)
    }
}

/// Waits until the connection has to be closed, whatever is queued.
async fn close_now(terms: &mut Terms) -> &'static str {
    let revoked = async {
        loop {
            if terms.revoked.changed().await.is_err() {
                return std::future::pending().await;
            }
            let last = *terms.revoked.borrow_and_update();
            if terms.generation < last.living && last.by != terms.index {
                return;
            }
        }
    };
    let stopped = async {
        let stop = terms.stop.wait_for(Option::is_some).await;
        // Without the sender the server is gone, and that is a stop too.
        let at = stop.ok().and_then(|at| *at).unwrap_or_else(Instant::now);
        sleep_until(at).await;
    };
    tokio::select! {
        () = revoked => "the access token has expired",
        () = sleep_until(terms.until) => "the access token has expired",
        () = stopped => "the simulator stops",
    }
}

impl From<Violation> for End {
    fn from(violation: Violation) -> Self {
        End::Close(violation as u16, "this frame is against the protocol")
    }
}
