//! WebSocket frames as a server writes and reads them, by hand: frames out go in batches that are
//! written whole, frames in are few and small. Key type: [`Incoming`].

use bytes::{Buf, BytesMut};

/// Bytes of the longest header a server sends.
pub(super) const MAX_HEADER: usize = 10;

/// The largest frame a client may send; it has nothing to say but pings and a close.
const MAX_INCOMING: u64 = 64 * 1024;

/// The longest payload of a control frame.
const MAX_CONTROL: usize = 125;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

/// Appends the header of a final, unmasked frame.
pub(super) fn push_header(out: &mut Vec<u8>, opcode: Opcode, length: usize) {
    push_any_header(out, 0x80 | opcode as u8, length);
}

/// Appends an unmasked frame that is part of a message.
pub(super) fn push_fragment(out: &mut Vec<u8>, opcode: Opcode, is_last: bool, payload: &[u8]) {
    push_any_header(out, u8::from(is_last) << 7 | opcode as u8, payload.len());
    out.extend_from_slice(payload);
}

fn push_any_header(out: &mut Vec<u8>, first: u8, length: usize) {
    match length {
        0..=125 => out.extend_from_slice(&[first, length as u8]),
        126..=0xffff => {
            let [a, b] = (length as u16).to_be_bytes();
            out.extend_from_slice(&[first, 126, a, b]);
        }
        _ => {
            out.extend_from_slice(&[first, 127]);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// Appends a control frame; a payload too long for one is cut.
pub(super) fn push_control(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    let payload = &payload[..payload.len().min(MAX_CONTROL)];
    push_header(out, opcode, payload.len());
    out.extend_from_slice(payload);
}

/// Appends a Close with code and reason, or with neither.
pub(super) fn push_close(out: &mut Vec<u8>, code: Option<u16>, reason: &str) {
    let payload = code.map(|code| [&code.to_be_bytes()[..], reason.as_bytes()].concat());
    push_control(out, Opcode::Close, &payload.unwrap_or_default());
}

/// The payload of a frame that the simulator made: unmasked and complete.
pub(super) fn payload_of(frame: &[u8]) -> &[u8] {
    let header = match frame.get(1) {
        Some(126) => 4,
        Some(127) => 10,
        _ => 2,
    };
    frame.get(header..).unwrap_or_default()
}

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FromClient {
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>),
    /// Data: nothing that concerns the simulator.
    Other,
}

/// What a client must not send, as the close code for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Violation {
    Protocol = 1002,
    TooBig = 1009,
}

/// Bytes from a client, and the frames in them. Never holds much more than one frame.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    bytes: BytesMut,
}

impl Incoming {
    /// Adds bytes that came.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next complete frame, if there is one.
    pub fn next(&mut self) -> Result<Option<FromClient>, Violation> {
        let Some((header, length)) = self.header()? else { return Ok(None) };
        let end = header + length;
        if self.bytes.len() < end {
            return Ok(None);
        }
        let opcode = self.bytes[0] & 0x0f;
        let mut frame = self.bytes.split_to(end);
        frame.advance(header - 4);
        let mask = [frame[0], frame[1], frame[2], frame[3]];
        frame.advance(4);
        for (byte, mask) in frame.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
        Ok(Some(match opcode {
            8 => {
                FromClient::Close(frame.get(..2).map(|code| u16::from_be_bytes([code[0], code[1]])))
            }
            9 => FromClient::Ping(frame.to_vec()),
            10 => FromClient::Pong(frame.to_vec()),
            _ => FromClient::Other,
        }))
    }

    /// Length of the header, mask included, and of the payload.
    fn header(&self) -> Result<Option<(usize, usize)>, Violation> {
        let [first, second, rest @ ..] = &self.bytes[..] else { return Ok(None) };
        if first & 0x70 != 0 || second & 0x80 == 0 {
            return Err(Violation::Protocol);
        }
        let short = second & 0x7f;
        if first & 0x08 != 0 && (usize::from(short) > MAX_CONTROL || first & 0x80 == 0) {
            return Err(Violation::Protocol);
        }
        let (extra, length) = match (short, rest) {
            (126, [a, b, ..]) => (2, u64::from(u16::from_be_bytes([*a, *b]))),
            (127, [a, b, c, d, e, f, g, h, ..]) => {
                (8, u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]))
            }
            (126 | 127, _) => return Ok(None),
            (short, _) => (0, u64::from(short)),
        };
        if length > MAX_INCOMING {
            return Err(Violation::TooBig);
        }
        Ok(Some((2 + extra + 4, length as usize)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 4];
        let mut frame = vec![first, 0x80 | payload.len() as u8];
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    }

    #[test]
    fn reads_frames_cut_anywhere() {
        let bytes = [masked(0x89, b"hi"), masked(0x82, b"data"), masked(0x88, &[3, 0xe8])].concat();
        for cut in 0..bytes.len() {
            let mut incoming = Incoming::default();
            let mut frames = Vec::new();
            for part in [&bytes[..cut], &bytes[cut..]] {
                incoming.extend(part);
                while let Some(frame) = incoming.next().unwrap() {
                    frames.push(frame);
                }
            }
            let close = FromClient::Close(Some(1000));
            assert_eq!(frames, [FromClient::Ping(b"hi".to_vec()), FromClient::Other, close]);
        }
    }

    #[test]
    fn refuses_what_a_client_must_not_send() {
        let next = |bytes: &[u8]| {
            let mut incoming = Incoming::default();
            incoming.extend(bytes);
            incoming.next()
        };
        assert_eq!(next(&[0x82, 1, 0]), Err(Violation::Protocol), "unmasked");
        assert_eq!(next(&[0xc2, 0x81]), Err(Violation::Protocol), "a reserved bit");
        assert_eq!(next(&[0x89, 0xfe, 1, 0]), Err(Violation::Protocol), "a long ping");
        let huge = [0x82, 0xff, 0, 0, 0, 0, 1, 0, 0, 0];
        assert_eq!(next(&huge), Err(Violation::TooBig));
    }

    #[test]
    fn headers_have_three_lengths() {
        let lengths = [0, 125, 126, 0xffff, 0x1_0000].map(|length| {
            let mut out = Vec::new();
            push_header(&mut out, Opcode::Binary, length);
            out.len()
        });
        assert_eq!(lengths, [2, 2, 4, 4, MAX_HEADER]);
    }
}
