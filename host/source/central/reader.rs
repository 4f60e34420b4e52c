//! The thread that reads one connection: off the runtime, for at live rates being woken for every
//! packet is what reading costs. It reads what is there, naps while little comes, pings, and closes in
//! order. Key types: [`Reader`], [`Reading`].

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustls::ClientConnection;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::handshake::Opened;
use super::outlet::Lane;
use super::websocket::{Item, Parser, close, ping, pong};
use crate::excerpt::causes;
use crate::frame::Frame;

/// Central wants a ping this often, and answers within that time.
const PING_EVERY: Duration = Duration::from_secs(10);
const PONG_WITHIN: Duration = Duration::from_secs(5);
/// How long the other side may take to close after us, and to take what we write.
const CLOSE_WITHIN: Duration = Duration::from_secs(3);
const WRITE_WITHIN: Duration = Duration::from_secs(5);
/// How long a read waits before it looks at the time and at what it was told.
const READ_WAIT: Duration = Duration::from_millis(100);
/// What one read takes at most, and below what it counts as little: then the thread naps, so that
/// more comes together.
const READ_BYTES: usize = 64 << 10;
const LITTLE: usize = 16 << 10;
const NAP: Duration = Duration::from_millis(4);
/// From when on handing on counts as reading being held back.
const HELD_BACK: Duration = Duration::from_millis(50);
/// The close code for a message over the limit.
const TOO_BIG: u16 = 1_009;
const NORMAL: u16 = 1_000;
/// How long the other side is heard out after the end.
const LINGER: Duration = Duration::from_millis(300);

/// How a connection ended.
#[derive(Debug, Clone)]
pub(super) struct End {
    /// In words.
    pub why: String,
    /// Frames it brought.
    pub frames: u64,
    /// How long it lasted.
    pub lasted: Duration,
}

/// A connection that is being read.
pub(super) struct Reading {
    told: Arc<Told>,
    ended: oneshot::Receiver<End>,
}

/// What the thread is told, and tells while it reads.
#[derive(Debug, Default)]
struct Told {
    is_to_close: AtomicBool,
    frames: AtomicU64,
    over: CancellationToken,
}

impl Reading {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the socket cannot be set up, or no thread is to be had.
    pub fn start(name: &str, opened: Opened, lane: Lane, max_frame: usize) -> io::Result<Self> {
        let told = Arc::new(Told::default());
        let (sender, ended) = oneshot::channel();
        let reader = Reader::new(opened, lane, max_frame, Arc::clone(&told))?;
        let over = told.over.clone();
        let thread = std::thread::Builder::new().name(format!("s:{name}"));
        thread.spawn(move || {
            // However it ends.
            let _over = over.drop_guard();
            let end = reader.run();
            // Nobody listens any more only when the host has given up waiting.
            let _ = sender.send(end);
        })?;
        Ok(Reading { told, ended })
    }

    /// Tells it to close in order: what the other side sent before it closes too is still read.
    pub fn close(&self) {
        self.told.is_to_close.store(true, Ordering::Relaxed);
    }

    /// How many frames it has brought so far.
    pub fn frames(&self) -> u64 {
        self.told.frames.load(Ordering::Relaxed)
    }

    /// Waits until nothing more can come.
    pub async fn is_over(&self) {
        self.told.over.cancelled().await;
    }

    /// Waits for its end, when everything it brought has been handed on.
    pub async fn ended(&mut self) -> End {
        let gone = |_| End {
            why: "its thread died of a fault of the host's".to_owned(),
            frames: self.told.frames.load(Ordering::Relaxed),
            lasted: Duration::ZERO,
        };
        (&mut self.ended).await.unwrap_or_else(gone)
    }
}

struct Reader {
    tls: ClientConnection,
    tcp: BufReader<TcpStream>,
    parser: Parser,
    lane: Lane,
    told: Arc<Told>,
    next_ping: Instant,
    /// When the answer to the last ping is overdue.
    pong_due: Option<Instant>,
    /// When the answer to our closing is overdue.
    close_due: Option<Instant>,
    end: Option<String>,
}

impl Reader {
    fn new(opened: Opened, lane: Lane, max_frame: usize, told: Arc<Told>) -> io::Result<Self> {
        let (tcp, tls) = opened.stream.into_inner();
        let tcp = tcp.into_std()?;
        tcp.set_nonblocking(false)?;
        tcp.set_read_timeout(Some(READ_WAIT))?;
        tcp.set_write_timeout(Some(WRITE_WITHIN))?;
        Ok(Reader {
            tls,
            tcp: BufReader::with_capacity(READ_BYTES, tcp),
            parser: Parser::new(max_frame, &opened.read),
            lane,
            told,
            next_ping: Instant::now() + PING_EVERY,
            pong_due: None,
            close_due: None,
            end: None,
        })
    }

    fn run(mut self) -> End {
        let begun = Instant::now();
        // What came together with the handshake.
        let first = self.decrypted().and_then(|()| self.hand_on());
        self.note(first);
        while self.end.is_none() {
            let read = self.round();
            let little = matches!(read, Ok(count) if count > 0 && count < LITTLE);
            self.note(read.map(drop));
            if little && self.end.is_none() && self.close_due.is_none() {
                std::thread::sleep(NAP);
            }
        }
        if let Err(error) = self.finish() {
            tracing::debug!(error = %causes(&error), "closing");
        }
        let why = self.end.take().unwrap_or_default();
        let frames = self.told.frames.load(Ordering::Relaxed);
        // Not before all that was held has been handed on.
        drop(self.lane);
        End { why, frames, lasted: begun.elapsed() }
    }

    /// Reads once, and hands on what came. Gives back how many bytes it read.
    fn round(&mut self) -> Result<usize, String> {
        self.on_time()?;
        let count = self.read()?;
        if count == 0 {
            self.lane.flush();
        } else {
            self.hand_on()?;
        }
        Ok(count)
    }

    /// Pings when it is time, closes when told to, and notices what is overdue.
    fn on_time(&mut self) -> Result<(), String> {
        let now = Instant::now();
        if self.told.is_to_close.load(Ordering::Relaxed) && self.close_due.is_none() {
            self.close_due = Some(now + CLOSE_WITHIN);
            self.write(&close(Some(NORMAL)))?;
        }
        if self.close_due.is_some_and(|due| due <= now) {
            return Err("the server did not close in time".to_owned());
        }
        if self.pong_due.is_some_and(|due| due <= now) {
            return Err(format!("no pong within {PONG_WITHIN:?}"));
        }
        if self.next_ping <= now && self.close_due.is_none() {
            self.next_ping = now + PING_EVERY;
            self.pong_due.get_or_insert(now + PONG_WITHIN);
            self.write(&ping())?;
        }
        Ok(())
    }

    /// Reads from the socket and decrypts. 0 when nothing came in time.
    fn read(&mut self) -> Result<usize, String> {
        let mut count = 0;
        loop {
            match self.tls.read_tls(&mut self.tcp) {
                Ok(0) => {
                    self.decrypted()?;
                    // What came before the end counts.
                    self.hand_on()?;
                    let within = if self.parser.is_within_frame() { " within a frame" } else { "" };
                    return Err(format!("the connection ended{within}"));
                }
                Ok(read) => count += read,
                Err(error) if is_idle(&error) => return Ok(count),
                Err(error) => return Err(causes(&error)),
            }
            self.decrypted()?;
            if self.tcp.buffer().is_empty() {
                return Ok(count);
            }
        }
    }

    /// Takes what TLS has decrypted, and writes what TLS itself has to say.
    fn decrypted(&mut self) -> Result<(), String> {
        let processed = self.tls.process_new_packets();
        let state = processed.map_err(|error| format!("TLS: {}", causes(&error)))?;
        let mut left = state.plaintext_bytes_to_read();
        while left > 0 {
            let mut reader = self.tls.reader();
            let bytes = reader.fill_buf().map_err(|error| causes(&error))?;
            let taken = bytes.len();
            self.parser.push(bytes);
            reader.consume(taken);
            left = left.saturating_sub(taken.max(1));
        }
        if self.tls.wants_write() {
            self.flush()?;
        }
        Ok(())
    }

    /// Hands on the messages there are, and answers what is to be answered.
    fn hand_on(&mut self) -> Result<(), String> {
        let mut frames = Vec::new();
        let ended = self.take(&mut frames);
        if !frames.is_empty() {
            self.told.frames.fetch_add(frames.len() as u64, Ordering::Relaxed);
            let begun = Instant::now();
            self.lane.put(frames);
            let held_back = begun.elapsed();
            // No answer could have been seen meanwhile.
            if held_back >= HELD_BACK && self.pong_due.is_some() {
                self.pong_due = Some(Instant::now() + PONG_WITHIN);
            }
            if !self.lane.outlet().is_stopping() {
                self.close_due = self.close_due.map(|due| due + held_back);
            }
        }
        ended
    }

    fn take(&mut self, frames: &mut Vec<Frame>) -> Result<(), String> {
        while let Some(item) = self.parser.next().map_err(|violation| violation.to_string())? {
            match item {
                Item::Message(frame) => frames.push(frame),
                Item::Ping(payload) => self.write(&pong(&payload))?,
                Item::Pong => self.pong_due = None,
                Item::TooLarge(size, head) => {
                    if !self.lane.outlet().knows_too_large(size, &head) {
                        frames.push(Frame::too_large(size, head));
                        self.write(&close(Some(TOO_BIG)))?;
                        return Err(format!(
                            "a frame of {size} bytes is over the limit, max_frame"
                        ));
                    }
                    tracing::warn!(size, "the frame over the limit came again and is passed over");
                }
                Item::Close(said) => {
                    if self.close_due.is_none() {
                        self.write(&close(said.as_ref().map(|(code, _)| *code)))?;
                    }
                    self.end = Some(words_of_close(said));
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Says that nothing more is coming, and hears the other side out: what is left unread when a
    /// socket is closed would cut off what was written last.
    fn finish(&mut self) -> io::Result<()> {
        self.tls.send_close_notify();
        while self.tls.wants_write() {
            self.tls.write_tls(self.tcp.get_mut())?;
        }
        self.tcp.get_ref().shutdown(Shutdown::Write)?;
        let until = Instant::now() + LINGER;
        while Instant::now() < until {
            let read = self.tcp.fill_buf()?.len();
            if read == 0 {
                break;
            }
            self.tcp.consume(read);
        }
        Ok(())
    }

    fn write(&mut self, frame: &[u8]) -> Result<(), String> {
        self.tls.writer().write_all(frame).map_err(|error| causes(&error))?;
        self.flush()
    }

    fn flush(&mut self) -> Result<(), String> {
        while self.tls.wants_write() {
            let written = self.tls.write_tls(self.tcp.get_mut());
            written.map_err(|error| format!("cannot write: {}", causes(&error)))?;
        }
        Ok(())
    }

    fn note(&mut self, result: Result<(), String>) {
        if let Err(why) = result {
            self.end.get_or_insert(why);
        }
    }
}

fn is_idle(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

fn words_of_close(said: Option<(u16, String)>) -> String {
    match said {
        Some((code, reason)) if reason.is_empty() => format!("the server closed with code {code}"),
        Some((code, reason)) => format!("the server closed with code {code}: {reason}"),
        None => "the server closed without a code".to_owned(),
    }
}
