//! One stream, for ever: connect, read, hand on, connect again. Key type: [`Stream`].

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use super::handshake::{ConnectError, Target};
use super::token::{Token, Tokens};
use crate::backoff::Backoff;
use crate::frame::{Chunk, Frame, Origin};
use crate::pipeline::Input;
use crate::source::{SharedStatus, State};
use crate::text::now_micros;

const LEAST_WAIT: Duration = Duration::from_millis(100);
const MOST_WAIT: Duration = Duration::from_secs(30);
/// A connection that brought so many events, or lasted so long, was a good one: waits begin anew.
const GOOD_FRAMES: u64 = 100;
const GOOD_TIME: Duration = Duration::from_secs(60);
/// From when on waiting for a pipeline counts as reading being held back.
const HELD_BACK: Duration = Duration::from_millis(50);
/// How long frames that were read may wait for a pipeline once the host is stopping.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// A stream to hold open.
pub(super) struct Stream {
    pub target: Target,
    pub tokens: Arc<Tokens>,
    pub origin: Arc<Origin>,
    pub outputs: Vec<Input>,
    pub status: SharedStatus,
    pub stop: CancellationToken,
}

impl Stream {
    /// Holds the stream open until told to stop.
    pub async fn run(self) {
        let mut backoff = Backoff::new(LEAST_WAIT, MOST_WAIT);
        let stop = self.stop.clone();
        while !stop.is_cancelled() {
            self.status.enter(State::Connecting, "", "");
            let connected = stop.run_until_cancelled(self.connect()).await;
            let why = match connected {
                None => break,
                Some(Ok(connection)) => self.stream(connection, &mut backoff).await,
                Some(Err(why)) => why,
            };
            if stop.is_cancelled() {
                break;
            }
            let wait = backoff.next_wait();
            let (source, stream) = (&*self.origin.source, &*self.origin.stream);
            tracing::warn!(source, stream, wait_ms = wait.as_millis() as u64, "{why}");
            self.status.enter(State::Waiting, &why, "");
            stop.run_until_cancelled(tokio::time::sleep(wait)).await;
        }
        self.status.enter(State::Stopped, "", "");
    }

    async fn connect(&self) -> Result<Connection, String> {
        let token = self.tokens.get().await;
        let token = token.map_err(|error| format!("{error} (hint: {})", error.hint))?;
        match self.target.connect(&token.secret).await {
            Ok(socket) => {
                self.tokens.accept(&token);
                Ok(Connection::new(socket))
            }
            Err(error) => Err(self.not_connected(&token, &error)),
        }
    }

    fn not_connected(&self, token: &Token, error: &ConnectError) -> String {
        let mut hint = String::new();
        if let ConnectError::Refused { status: 401, .. } = error {
            hint = self.tokens.refuse(token).hint;
        }
        let hint = if hint.is_empty() { hint } else { format!(" (hint: {hint})") };
        format!("not connected: {error}{hint}")
    }

    /// Reads one connection to its end; says what ended it.
    async fn stream(&self, mut connection: Connection, backoff: &mut Backoff) -> String {
        let (source, stream) = (&*self.origin.source, &*self.origin.stream);
        tracing::info!(source, stream, "connected");
        self.status.enter(State::Streaming, "", "");
        self.status.change(|status| status.connections += 1);
        let begun = Instant::now();
        let mut frames_read = 0;
        let mut is_closing = false;
        let why = loop {
            let read = tokio::select! {
                biased;
                () = self.stop.cancelled(), if !is_closing => {
                    is_closing = true;
                    connection.close().await;
                    continue;
                }
                read = connection.read() => read,
            };
            match read {
                Ok(frames) => {
                    frames_read += frames.len() as u64;
                    self.hand_on(&mut connection, frames).await;
                }
                Err(why) => break why,
            }
            if frames_read >= GOOD_FRAMES {
                backoff.reset();
            }
        };
        if begun.elapsed() >= GOOD_TIME {
            backoff.reset();
        }
        connection.finish().await;
        format!("disconnected after {frames_read} frames: {why}")
    }

    /// Gives frames to every pipeline, waiting for room in each.
    async fn hand_on(&self, connection: &mut Connection, frames: Vec<Frame>) {
        self.status.change(|status| {
            status.frames += frames.len() as u64;
            status.last_frame = now_micros();
        });
        let chunk = Chunk::new(Arc::clone(&self.origin), frames);
        let begun = Instant::now();
        for output in &self.outputs {
            let chunk = chunk.clone();
            let abandoned = chunk.clone();
            let sent = tokio::select! {
                sent = output.send(chunk) => sent.is_ok(),
                () = self.out_of_time() => false,
            };
            if !sent {
                // Counted, and so seen to be in flight: never lost in silence.
                output.abandon(&abandoned);
            }
        }
        if begun.elapsed() >= HELD_BACK {
            connection.was_held_back();
        }
    }

    async fn out_of_time(&self) {
        self.stop.cancelled().await;
        tokio::time::sleep(LAST_WAIT).await;
    }
}
