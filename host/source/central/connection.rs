//! One connection from its first frame to its last: reads what is there in one go, pings, and closes
//! in order. Key type: [`Connection`].

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::{SinkExt as _, Stream as _};
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use super::handshake::Socket;
use super::token::causes;
use crate::frame::Frame;

/// Central wants a ping this often, and answers within that time.
const PING_EVERY: Duration = Duration::from_secs(10);
const PONG_WITHIN: Duration = Duration::from_secs(5);
/// How long the other side may take to close after us.
const CLOSE_WITHIN: Duration = Duration::from_secs(3);
/// Most frames and bytes that are read before they are handed on.
const MAX_FRAMES: usize = 512;
const MAX_BYTES: usize = 1 << 20;

/// An open connection.
pub(super) struct Connection {
    socket: Socket,
    next_ping: Instant,
    /// When the answer to the last ping is overdue.
    pong_due: Option<Instant>,
    /// When the answer to our closing is overdue.
    close_due: Option<Instant>,
    end: Option<String>,
}

impl Connection {
    pub fn new(socket: Socket) -> Self {
        let next_ping = Instant::now() + PING_EVERY;
        Connection { socket, next_ping, pong_due: None, close_due: None, end: None }
    }

    /// The frames that are there, waiting for the first. `Err` says why there will be no more; it
    /// comes after the last frame.
    pub async fn read(&mut self) -> Result<Vec<Frame>, String> {
        loop {
            if let Some(end) = &self.end {
                return Err(end.clone());
            }
            let due = [Some(self.next_ping), self.pong_due, self.close_due];
            let wake = due.into_iter().flatten().min().unwrap_or(self.next_ping);
            let frames = tokio::select! {
                biased;
                frames = self.read_ready() => frames,
                () = sleep_until(wake) => {
                    self.on_time().await;
                    continue;
                }
            };
            if !frames.is_empty() {
                return Ok(frames);
            }
        }
    }

    /// Begins to close: what the other side sent before it closes too is still read.
    pub async fn close(&mut self) {
        if self.close_due.is_none() {
            self.close_due = Some(Instant::now() + CLOSE_WITHIN);
            let closing = self.socket.close(None);
            if let Ok(Err(error)) = tokio::time::timeout(CLOSE_WITHIN, closing).await {
                tracing::debug!(error = %causes(&error), "closing");
            }
        }
    }

    /// Notes that reading was held back until now: no answer could have been seen meanwhile.
    pub fn was_held_back(&mut self) {
        if self.pong_due.is_some() {
            self.pong_due = Some(Instant::now() + PONG_WITHIN);
        }
    }

    /// Pings when it is time, and notices what is overdue.
    async fn on_time(&mut self) {
        let now = Instant::now();
        if self.close_due.is_some_and(|due| due <= now) {
            self.end = Some("the server did not close in time".to_owned());
        } else if self.pong_due.is_some_and(|due| due <= now) {
            self.end = Some(format!("no pong within {PONG_WITHIN:?}"));
        } else if self.next_ping <= now {
            self.next_ping = now + PING_EVERY;
            self.pong_due.get_or_insert(now + PONG_WITHIN);
            let ping = self.socket.send(Message::Ping(Vec::new().into()));
            match tokio::time::timeout(PONG_WITHIN, ping).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => self.end = Some(end_of(&error)),
                Err(_) => self.end = Some("a ping could not be sent".to_owned()),
            }
        }
    }

    /// All frames that can be read without waiting, after waiting for something to read.
    async fn read_ready(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        let mut bytes = 0;
        poll_fn(|context| {
            while frames.len() < MAX_FRAMES && bytes < MAX_BYTES && self.end.is_none() {
                let next = match Pin::new(&mut self.socket).poll_next(context) {
                    Poll::Ready(next) => next,
                    Poll::Pending if frames.is_empty() => return Poll::Pending,
                    Poll::Pending => break,
                };
                match next {
                    Some(Ok(Message::Binary(data))) => {
                        bytes += data.len();
                        frames.push(Frame::binary(data));
                    }
                    Some(Ok(Message::Text(text))) => {
                        bytes += text.len();
                        frames.push(Frame::text(text));
                    }
                    Some(Ok(Message::Pong(_))) => self.pong_due = None,
                    Some(Ok(Message::Close(frame))) => {
                        self.note_close(frame.map(|f| (u16::from(f.code), f.reason.to_string())))
                    }
                    Some(Ok(_)) => {}
                    Some(Err(error)) => self.end = Some(end_of(&error)),
                    None => self.end = Some("the connection ended".to_owned()),
                }
            }
            Poll::Ready(())
        })
        .await;
        frames
    }

    fn note_close(&mut self, close: Option<(u16, String)>) {
        self.end = Some(match close {
            Some((code, reason)) if reason.is_empty() => {
                format!("the server closed with code {code}")
            }
            Some((code, reason)) => format!("the server closed with code {code}: {reason}"),
            None => "the server closed".to_owned(),
        });
    }

    /// Answers the other side's close, so that it sees an end in order.
    pub async fn finish(mut self) {
        let finishing = self.socket.close(None);
        // Whether it still hears it makes no difference here.
        let _ = tokio::time::timeout(Duration::from_secs(1), finishing).await;
    }
}

fn end_of(error: &WsError) -> String {
    match error {
        WsError::ConnectionClosed | WsError::AlreadyClosed => "the connection is closed".to_owned(),
        error => causes(error),
    }
}
