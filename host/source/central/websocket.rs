//! WebSocket frames as a client reads and writes them (RFC 6455), over bytes at hand: no socket and
//! no clock. What it reads is borrowed from one buffer and never copied. Key type: [`Parser`].

use bytes::{Buf as _, Bytes, BytesMut};

use crate::frame::Frame;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Longest payload of a control frame.
const MAX_CONTROL: usize = 125;
/// Most of a frame over the limit that is kept: what its dead letter shows.
const MAX_HEAD: usize = 64 << 10;

/// What the other side sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    /// A whole message, binary or text.
    Message(Frame),
    /// A message larger than the limit: its size as far as it is known, and its beginning. The rest
    /// of it is passed over.
    TooLarge(u64, Bytes),
    /// To be answered with the same bytes.
    Ping(Bytes),
    /// An answer to a ping.
    Pong,
    /// The other side ends the connection: code and reason, if it gave them.
    Close(Option<(u16, String)>),
}

/// The other side does not keep to RFC 6455; nothing after it can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not WebSocket: {0}")]
pub(super) struct Violation(&'static str);

/// Cuts what was read into messages.
#[derive(Debug)]
pub(super) struct Parser {
    buffer: BytesMut,
    /// The first part of a message in several frames.
    begun: Option<Begun>,
    /// A frame of a message over the limit, while it is passed over.
    over: Option<Over>,
    /// Whether further frames of that message are to come.
    more_over: bool,
    limit: usize,
}

#[derive(Debug)]
struct Begun {
    is_text: bool,
    bytes: BytesMut,
}

#[derive(Debug)]
struct Over {
    left: u64,
    size: u64,
    head: BytesMut,
    is_told: bool,
}

#[derive(Debug, Clone, Copy)]
struct Head {
    is_last: bool,
    opcode: u8,
    /// Bytes of the header itself.
    size: usize,
    /// Bytes of the payload.
    length: u64,
}

impl Parser {
    /// Reads messages of up to `limit` bytes, beginning with what was read together with the
    /// handshake.
    pub fn new(limit: usize, read: &[u8]) -> Self {
        Parser { buffer: BytesMut::from(read), begun: None, over: None, more_over: false, limit }
    }

    /// Adds what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether the bytes read so far end within a frame.
    pub fn is_within_frame(&self) -> bool {
        !self.buffer.is_empty() || self.over.is_some()
    }

    /// The next item; `None` when more must be read first.
    ///
    /// # Errors
    /// When the other side breaks the rules. There is nothing more to be had then.
    pub fn next(&mut self) -> Result<Option<Item>, Violation> {
        loop {
            if self.over.is_some() {
                match self.pass_over() {
                    None if self.over.is_some() => return Ok(None),
                    None => {}
                    told => return Ok(told),
                }
            }
            let Some(head) = head_of(&self.buffer)? else { return Ok(None) };
            if self.begin_over(head)? {
                continue;
            }
            // It fits the limit, and so the memory.
            let length = head.length as usize;
            if self.buffer.len() < head.size + length {
                self.buffer.reserve((head.size + length - self.buffer.len()).min(1 << 20));
                return Ok(None);
            }
            self.buffer.advance(head.size);
            let payload = self.buffer.split_to(length).freeze();
            match self.item(head, payload)? {
                None => {}
                item => return Ok(item),
            }
        }
    }

    fn item(&mut self, head: Head, payload: Bytes) -> Result<Option<Item>, Violation> {
        match head.opcode {
            PING => Ok(Some(Item::Ping(payload))),
            PONG => Ok(Some(Item::Pong)),
            CLOSE => close_of(&payload).map(|close| Some(Item::Close(close))),
            _ => self.data(head, payload),
        }
    }

    fn data(&mut self, head: Head, payload: Bytes) -> Result<Option<Item>, Violation> {
        match (&mut self.begun, head.opcode) {
            (None, CONTINUATION) => Err(Violation("a continuation of nothing")),
            (Some(_), TEXT | BINARY) => Err(Violation("a message within another")),
            (None, _) if head.is_last => Ok(Some(message(head.opcode == TEXT, payload))),
            (None, opcode) => {
                self.begun =
                    Some(Begun { is_text: opcode == TEXT, bytes: BytesMut::from(&*payload) });
                Ok(None)
            }
            (Some(begun), _) => {
                begun.bytes.extend_from_slice(&payload);
                if !head.is_last {
                    return Ok(None);
                }
                let whole = self.begun.take();
                Ok(whole.map(|whole| message(whole.is_text, whole.bytes.freeze())))
            }
        }
    }

    /// Whether the frame is of a message over the limit. If so, it is about to be passed over.
    fn begin_over(&mut self, head: Head) -> Result<bool, Violation> {
        let is_data = head.opcode < CLOSE;
        let is_next = self.more_over && is_data;
        if is_next && head.opcode != CONTINUATION {
            return Err(Violation("a message within another"));
        }
        let before = self.begun.as_ref().map_or(0, |begun| begun.bytes.len() as u64);
        let size = before.saturating_add(head.length);
        if !is_next && (!is_data || size <= self.limit as u64) {
            return Ok(false);
        }
        self.buffer.advance(head.size);
        let begun = self.begun.take().map(|begun| begun.bytes).unwrap_or_default();
        self.more_over = !head.is_last;
        self.over = Some(Over { left: head.length, size, head: begun, is_told: is_next });
        Ok(true)
    }

    /// Goes on passing over a frame; tells of it once, when its beginning is known.
    fn pass_over(&mut self) -> Option<Item> {
        let over = self.over.as_mut()?;
        let here = self.buffer.len().min(usize::try_from(over.left).unwrap_or(usize::MAX));
        let passed = self.buffer.split_to(here);
        over.left -= here as u64;
        let room = MAX_HEAD.saturating_sub(over.head.len()).min(here);
        over.head.extend_from_slice(&passed[..room]);
        let is_known = over.left == 0 || over.head.len() >= MAX_HEAD;
        let item = (is_known && !over.is_told).then(|| {
            over.is_told = true;
            over.head.truncate(MAX_HEAD);
            Item::TooLarge(over.size, std::mem::take(&mut over.head).freeze())
        });
        if over.left == 0 {
            self.over = None;
        }
        item
    }
}

fn message(is_text: bool, payload: Bytes) -> Item {
    Item::Message(if is_text { Frame::text(payload) } else { Frame::binary(payload) })
}

/// The header at the beginning of `bytes`; `None` when it is not all there.
fn head_of(bytes: &[u8]) -> Result<Option<Head>, Violation> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    let (is_last, opcode) = (first & 0x80 != 0, first & 0x0f);
    if first & 0x70 != 0 {
        return Err(Violation("a reserved bit is set"));
    }
    if second & 0x80 != 0 {
        return Err(Violation("a server's frame is masked"));
    }
    let (size, length) = match (second & 0x7f, rest) {
        (126, [a, b, ..]) => (4, u64::from(u16::from_be_bytes([*a, *b]))),
        (127, [a, b, c, d, e, f, g, h, ..]) => {
            (10, u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]))
        }
        (126 | 127, _) => return Ok(None),
        (length, _) => (2, u64::from(length)),
    };
    match opcode {
        CONTINUATION | TEXT | BINARY => {}
        CLOSE | PING | PONG if !is_last || length > MAX_CONTROL as u64 => {
            return Err(Violation("a control frame that is cut or too long"));
        }
        CLOSE | PING | PONG => {}
        _ => return Err(Violation("an unknown opcode")),
    }
    Ok(Some(Head { is_last, opcode, size, length }))
}

fn close_of(payload: &[u8]) -> Result<Option<(u16, String)>, Violation> {
    match payload {
        [] => Ok(None),
        [_] => Err(Violation("half a close code")),
        [a, b, reason @ ..] => {
            let reason: String =
                String::from_utf8_lossy(reason).chars().filter(|c| !c.is_control()).collect();
            Ok(Some((u16::from_be_bytes([*a, *b]), reason)))
        }
    }
}

/// A ping, masked.
pub(super) fn ping() -> Vec<u8> {
    control(PING, &[])
}

/// The answer to a ping, masked.
pub(super) fn pong(payload: &[u8]) -> Vec<u8> {
    control(PONG, payload)
}

/// A close with a code, masked; without one where the other side gave none.
pub(super) fn close(code: Option<u16>) -> Vec<u8> {
    control(CLOSE, code.map(u16::to_be_bytes).as_ref().map_or(&[][..], |code| &code[..]))
}

/// A control frame. Its payload is cut to what such a frame may hold.
fn control(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let payload = &payload[..payload.len().min(MAX_CONTROL)];
    let mask: [u8; 4] = rand::random();
    let mut frame = vec![0x80 | opcode, 0x80 | payload.len() as u8];
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};
    use tokio_tungstenite::tungstenite::protocol::frame::{Frame as TheirFrame, FrameHeader};
    use tokio_tungstenite::tungstenite::protocol::{Role, WebSocket};

    use super::*;

    /// A frame as the library that everybody uses writes it.
    fn theirs(payload: &[u8], opcode: OpCode, is_last: bool) -> Vec<u8> {
        let mut frame = TheirFrame::message(payload.to_vec(), opcode, is_last);
        let _: &mut FrameHeader = frame.header_mut();
        let mut out = Vec::new();
        frame.format(&mut out).unwrap();
        out
    }

    /// What comes out when bytes come in pieces.
    fn read(bytes: &[u8], piece: usize, limit: usize) -> Result<Vec<Item>, Violation> {
        let mut parser = Parser::new(limit, &[]);
        let mut items = Vec::new();
        for part in bytes.chunks(piece.max(1)) {
            parser.push(part);
            while let Some(item) = parser.next()? {
                items.push(item);
            }
        }
        Ok(items)
    }

    fn binary(bytes: &[u8]) -> Item {
        Item::Message(Frame::binary(bytes.to_vec()))
    }

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in(
            messages in prop::collection::vec((0..3u8, prop::collection::vec(any::<u8>(), 0..70_000)), 1..6),
            parts in 1..4usize,
            piece in 1..100_000usize,
        ) {
            let (mut wire, mut expected) = (Vec::new(), Vec::new());
            for (kind, payload) in &messages {
                match kind {
                    0 => {
                        let payload = &payload[..payload.len().min(100)];
                        wire.extend(theirs(payload, OpCode::Control(Control::Ping), true));
                        expected.push(Item::Ping(payload.to_vec().into()));
                    }
                    1 => {
                        wire.extend(theirs(payload, OpCode::Data(Data::Binary), true));
                        expected.push(binary(payload));
                    }
                    _ => {
                        let size = payload.len().div_ceil(parts).max(1);
                        let cut: Vec<_> = payload.chunks(size).collect();
                        for (number, part) in cut.iter().enumerate() {
                            let data = if number == 0 { Data::Text } else { Data::Continue };
                            let is_last = number + 1 == cut.len();
                            wire.extend(theirs(part, OpCode::Data(data), is_last));
                            if !is_last {
                                wire.extend(theirs(b"", OpCode::Control(Control::Pong), true));
                                expected.push(Item::Pong);
                            }
                        }
                        if cut.is_empty() {
                            wire.extend(theirs(b"", OpCode::Data(Data::Text), true));
                        }
                        expected.push(Item::Message(Frame::text(payload.clone())));
                    }
                }
            }
            prop_assert_eq!(read(&wire, piece, 1 << 20), Ok(expected));
        }

        #[test]
        fn nothing_makes_it_stumble(bytes in prop::collection::vec(any::<u8>(), 0..300), piece in 1..40usize) {
            // Whatever comes, it ends, and takes no more than it was given.
            let _ = read(&bytes, piece, 100);
        }
    }

    #[test]
    fn what_is_over_the_limit_is_passed_over_and_shown() {
        let mut wire = theirs(&[7; 300], OpCode::Data(Data::Binary), true);
        wire.extend(theirs(b"next", OpCode::Data(Data::Binary), true));
        for piece in [1, 7, 1_000] {
            let items = read(&wire, piece, 200).unwrap();
            assert_eq!(items, [Item::TooLarge(300, vec![7; 300].into()), binary(b"next")]);
        }
        let parts = [
            theirs(&[1; 150], OpCode::Data(Data::Binary), false),
            theirs(&[2; 150], OpCode::Data(Data::Continue), false),
        ];
        let end = theirs(b"end", OpCode::Data(Data::Continue), true);
        let next = theirs(b"next", OpCode::Data(Data::Binary), true);
        let items = read(&[&parts.concat()[..], &end, &next].concat(), 9, 200).unwrap();
        assert_eq!(items.len(), 2, "{items:?}");
        assert!(matches!(&items[0], Item::TooLarge(300, head) if head.len() == 300));
        assert_eq!(items[1], binary(b"next"));
    }

    #[test]
    fn a_length_beyond_all_memory_takes_none() {
        let mut parser = Parser::new(1_000, &[]);
        parser.push(&[0x82, 127, 0x7f, 255, 255, 255, 255, 255, 255, 255, 1, 2]);
        assert_eq!(parser.next(), Ok(None));
        assert!(parser.is_within_frame());
        assert!(parser.buffer.capacity() < 1 << 20);
    }

    #[test]
    fn rules_that_are_broken_are_named() {
        for (bytes, says) in [
            (&[0xc2, 0][..], "reserved"),
            (&[0x82, 0x80], "masked"),
            (&[0x80, 0], "continuation of nothing"),
            (&[0x02, 0, 0x82, 0], "within another"),
            (&[0x09, 0], "control"),
            (&[0x89, 126, 0, 200], "control"),
            (&[0x83, 0], "opcode"),
            (&[0x88, 1, 3], "half"),
        ] {
            let violation = read(bytes, 9, 100).unwrap_err().to_string();
            assert!(violation.contains(says), "{violation} does not say {says}");
        }
    }

    #[test]
    fn what_it_writes_is_understood() {
        let wire = [ping(), pong(b"abc"), close(Some(1_000))].concat();
        let stream = Cursor::new(wire);
        let mut socket = WebSocket::from_raw_socket(stream, Role::Server, None);
        assert_eq!(socket.read().unwrap(), Message::Ping(Bytes::new()));
        assert_eq!(socket.read().unwrap(), Message::Pong(Bytes::from_static(b"abc")));
        let Message::Close(Some(close)) = socket.read().unwrap() else { panic!("no close") };
        assert_eq!(u16::from(close.code), 1_000);
        assert_eq!(
            read(&[0x88, 2, 3, 0xe8], 1, 9),
            Ok(vec![Item::Close(Some((1_000, String::new())))])
        );
    }
}
