//! Events of a stream without a server: the same frames that a client would get, for files to try
//! things on. Key function: [`frames`].

use super::envelope::Envelopes;
use crate::decode::catalog::Stream;
use crate::sim::content::{self, Moment};

/// The first frames of a stream under a seed; none for a stream that has no content.
pub fn frames(stream: &'static Stream, seed: u64, count: u64) -> impl Iterator<Item = Vec<u8>> {
    let envelopes = Envelopes::new(stream, seed);
    let mut feed = content::feed(stream, seed);
    let mut now = Moment::first(seed);
    let mut payload = Vec::new();
    (0..count).map_while(move |number| {
        let bits = envelopes.bits(number);
        now.advance(number, bits);
        payload.clear();
        let kind = feed.as_mut()?.next(&now, &mut payload);
        let mut frame = Vec::new();
        envelopes.push(&mut frame, kind, bits, &now, &payload);
        // Without the header of the WebSocket frame.
        let header = match frame[1] & 0x7f {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        Some(frame.split_off(header))
    })
}
