//! One open WebSocket: writes what its stream's clock hands it, answers pings, closes in good
//! order. Key type: [`Connection`].

mod parting;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_rustls::server::TlsStream;

use super::batch::Delivery;
use super::faults::{Ending, Trickle};
use super::gate::Pass;
use super::hub::{Filter, Hub, Share};
use super::outgoing::Outgoing;
use super::sent::SentLog;
use super::style::Style;
use super::tokens::Revocation;
use super::websocket::{FromClient, Incoming, Opcode, Violation, push_control};

/// A connection that takes nothing for so long is dropped.
const STALL: Duration = Duration::from_secs(60);

/// How long the peer has for its part of a close, and a started piece to get out before one.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// The same when the simulator stops, which must not take long.
const STOP_WAIT: Duration = Duration::from_secs(2);

/// Pings of a client that does not read its pongs are answered up to here.
const MAX_CONTROL: usize = 16 * 1024;

/// What a ping holds that asks whether what was repeated has arrived.
const ARRIVED: &[u8] = b"has it arrived?";

/// Everything a connection needs to know.
pub(super) struct Terms {
    /// Its number, from 1 on.
    pub number: u32,
    /// Name of the stream.
    pub stream: &'static str,
    /// The stream's place among those served.
    pub index: usize,
    /// Which payloads it wants.
    pub filter: Filter,
    /// Whom it shares with.
    pub share: Option<Share>,
    /// Where what it cannot send goes, if it shares.
    pub hub: Arc<Hub>,
    /// Lets others in once it is dropped.
    pub pass: Option<Pass>,
    /// How frames are written, where that is not plainly.
    pub style: Option<Style>,
    /// Whether bytes are written a few at a time.
    pub trickle: Option<Trickle>,
    /// Where it is written down what was sent.
    pub log: Option<Arc<SentLog>>,
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

/// What a connection runs over.
type Io = TlsStream<TcpStream>;

/// An open connection.
pub(super) struct Connection {
    terms: Terms,
    reader: ReadHalf<Io>,
    writer: WriteHalf<Io>,
    incoming: Incoming,
    queue: mpsc::Receiver<Delivery>,
    /// What is being written, and the piece of it (or of `control`) that is.
    outgoing: VecDeque<Outgoing>,
    piece: Bytes,
    piece_marks: usize,
    flushing: bool,
    control: Vec<u8>,
    progress: Instant,
    /// No event is sent before.
    rest_until: Option<Instant>,
    /// Nothing is written before.
    hold_until: Option<Instant>,
    /// What a truncated end begins and does not finish.
    half: Bytes,
    /// How many pings have no answer yet that ask whether what was repeated has arrived.
    asked: usize,
    /// It is to be reset, once that has arrived: a reset takes only what was sent for the first time.
    is_reset_due: bool,
}

/// Why a connection ends.
#[derive(Debug)]
enum End {
    /// The simulator ends it.
    Ours(Ending),
    /// The peer closed it.
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
    Rested,
    Stalled,
}

impl Connection {
    /// A connection just upgraded; `early` is what the client sent along with its request.
    pub fn new(io: Io, early: &[u8], queue: mpsc::Receiver<Delivery>, terms: Terms) -> Self {
        let (reader, writer) = tokio::io::split(io);
        let mut incoming = Incoming::default();
        incoming.extend(early);
        Connection {
            terms,
            reader,
            writer,
            incoming,
            queue,
            outgoing: VecDeque::new(),
            piece: Bytes::new(),
            piece_marks: 0,
            flushing: false,
            control: Vec::new(),
            progress: Instant::now(),
            rest_until: None,
            hold_until: None,
            half: Bytes::new(),
            asked: 0,
            is_reset_due: false,
        }
    }

    /// Serves it until it ends.
    pub async fn run(mut self) {
        let (stream, connection) = (self.terms.stream, self.terms.number);
        tracing::debug!(stream, connection, "open");
        let end = self.serve().await;
        match &end {
            End::Gone(why) => tracing::info!(stream, connection, why, "lost"),
            End::Ours(ending) => tracing::debug!(stream, connection, ?ending, "ending"),
            End::ByPeer(_) => tracing::debug!(stream, connection, "closed by the peer"),
        }
        self.part(end).await;
    }

    async fn serve(&mut self) -> End {
        let mut buffer = [0; 4_096];
        let mut closing = None;
        loop {
            if let Some(end) = self.handle_incoming() {
                return end;
            }
            if self.is_reset_due && self.asked == 0 {
                return End::Ours(Ending::Reset);
            }
            let free = self.piece.is_empty() && !self.flushing;
            if free
                && !self.next_piece(closing.is_some())
                && let Some(reason) = closing
            {
                return End::ours(reason);
            }
            match self.step(&mut buffer, closing.is_some()).await {
                Step::Read(Ok(0)) => return End::Gone("the peer closed without a Close".into()),
                Step::Read(Ok(length)) => self.incoming.extend(&buffer[..length]),
                Step::Written(Ok(length)) => self.note_written(length),
                Step::Flushed(Ok(())) => match self.note_flushed() {
                    Some(Ending::Reset) => self.is_reset_due = true,
                    Some(ending) => return End::Ours(ending),
                    None => {}
                },
                Step::Read(Err(error)) | Step::Written(Err(error)) | Step::Flushed(Err(error)) => {
                    return End::Gone(error.to_string());
                }
                Step::Delivered(Some(delivery)) => self.take_up(delivery),
                // The clock has let go of it: the simulator stops, and all is written.
                Step::Delivered(None) => return End::ours("the simulator stops"),
                Step::Rested => (self.rest_until, self.hold_until) = (None, None),
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
        let waits = self.is_reset_due;
        let idle = !busy && self.outgoing.is_empty() && !closing && !waits;
        // Whoever has to close does not dawdle.
        let trickle = self.terms.trickle.filter(|_| !closing);
        let held = self.hold_until.is_some() && trickle.is_some();
        // Only one of the two is ever waited for: what is held back is a piece already.
        let wake = if busy { self.hold_until } else { self.rest_until };
        let at_a_time = trickle.map_or(usize::MAX, |trickle| trickle.bytes);
        let piece = &self.piece[..self.piece.len().min(at_a_time)];
        let patience = if closing { CLOSE_WAIT } else { STALL };
        tokio::select! {
            biased;
            reason = close_now(&mut self.terms), if !closing => Step::CloseNow(reason),
            read = self.reader.read(buffer) => Step::Read(read),
            step = write(&mut self.writer, piece), if busy && !held => step,
            delivery = self.queue.recv(), if idle => Step::Delivered(delivery),
            () = sleep_until(wake.unwrap_or(self.progress)), if wake.is_some() => Step::Rested,
            () = sleep_until(self.progress + patience), if busy || waits => Step::Stalled,
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
                Ok(Some(FromClient::Pong(payload))) if payload == ARRIVED => {
                    self.asked = self.asked.saturating_sub(1);
                }
                Ok(Some(FromClient::Pong(_))) => {}
                Ok(Some(FromClient::Close(code))) => return Some(End::ByPeer(code)),
                Err(violation) => return Some(End::from(violation)),
            }
        }
    }

    fn take_up(&mut self, delivery: Delivery) {
        match &mut self.terms.style {
            None => {
                let exact = delivery.batch.is_counted() || self.terms.share.is_some();
                self.outgoing.push_back(Outgoing::new(delivery, &self.terms.filter, exact));
            }
            Some(style) => style.push(delivery, &self.terms.filter, &mut self.outgoing),
        }
    }

    /// Takes up the next piece to write; false when there is none.
    fn next_piece(&mut self, closing: bool) -> bool {
        if !self.control.is_empty() {
            self.piece = Bytes::from(std::mem::take(&mut self.control));
            self.piece_marks = 0;
        } else if let Some(current) = self.outgoing.front_mut().filter(|_| !closing) {
            if let Some(pause) = current.pause.take() {
                self.rest_until = Some(Instant::now() + pause);
            }
            if self.rest_until.is_some() {
                return false;
            }
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
        let pause = self.terms.trickle.map(|trickle| trickle.pause).filter(|p| !p.is_zero());
        self.hold_until = pause.map(|pause| self.progress + pause);
    }

    /// A piece is out; says how to end, if that was the last.
    fn note_flushed(&mut self) -> Option<Ending> {
        self.flushing = false;
        let marks = std::mem::take(&mut self.piece_marks);
        self.note_sent(marks);
        let current = self.outgoing.front()?;
        if !current.is_done() || current.pause.is_some() {
            return None;
        }
        let ended = self.outgoing.pop_front()?;
        if ended.delivery.asks {
            push_control(&mut self.control, Opcode::Ping, ARRIVED);
            self.asked += 1;
        }
        let then = ended.delivery.then?;
        let batch = &ended.delivery.batch;
        if let Some(last) = batch.marks.len().checked_sub(1) {
            self.half = parting::half(batch.frame(last));
        }
        Some(then)
    }

    /// Notes what was written of a piece that will not be finished.
    fn note_broken(&mut self) {
        if let Some(current) = self.outgoing.front() {
            let marks = current.written(self.piece.len()).min(self.piece_marks);
            self.note_sent(marks);
        }
    }

    /// Notes that so many frames of what is being written are out.
    fn note_sent(&mut self, marks: usize) {
        let Some(current) = self.outgoing.front_mut() else { return };
        let out = current.count(marks);
        if out.is_empty() {
            return;
        }
        let Terms { number, stream, log, .. } = &self.terms;
        let batch = &current.delivery.batch;
        batch.note(*number, current.frames(out.clone()));
        if let Some(log) = log {
            log.note(*number, stream, batch, current.frames(out));
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

impl End {
    fn ours(reason: &'static str) -> Self {
        End::Ours(Ending::Close { code: Some(1000), reason })
    }
}

impl From<Violation> for End {
    fn from(violation: Violation) -> Self {
        let reason = "this frame is against the protocol";
        End::Ours(Ending::Close { code: Some(violation as u16), reason })
    }
}
