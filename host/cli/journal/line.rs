//! A frame of the journal as a line of a plain file. Key type: [`Line`].

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use crate::frame::{Frame, Kind, Origin};
use crate::journal::{KeptFrame, Read};
use crate::timestamp::{Timestamp, format_time};

/// A frame as a line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line<'a> {
    /// Its record in the journal that it is from. An import gives it another.
    #[serde(default)]
    seq: u64,
    /// When it was received, RFC 3339.
    time: String,
    #[serde(borrow)]
    source: Cow<'a, str>,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    kind: Name,
    /// Its size, where only its beginning is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    /// Its bytes, in base64.
    frame: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Name {
    Binary,
    Text,
    TooLarge,
}

impl<'a> From<&'a KeptFrame> for Line<'a> {
    fn from(kept: &'a KeptFrame) -> Self {
        let Read { origin, frame } = &kept.read;
        let (kind, size) = match frame.kind {
            Kind::Binary => (Name::Binary, None),
            Kind::Text => (Name::Text, None),
            Kind::TooLarge(size) => (Name::TooLarge, Some(size)),
        };
        Line {
            seq: kept.seq,
            time: format_time(Timestamp::from_micros(kept.time)),
            source: Cow::Borrowed(&origin.source),
            stream: Cow::Borrowed(&origin.stream),
            kind,
            size,
            frame: BASE64_STANDARD.encode(&frame.bytes),
        }
    }
}

/// Longest name of a source or stream: journals have them in each record.
const MAX_NAME: usize = 1_000;

impl Line<'_> {
    /// The frame, and when it was received.
    ///
    /// # Errors
    /// What of it makes no sense.
    pub fn read(&self) -> Result<(u64, Read), String> {
        let time =
            Timestamp::parse(&self.time).ok_or_else(|| format!("{:?} is no time", self.time))?;
        for name in [&self.source, &self.stream] {
            if name.len() > MAX_NAME {
                return Err(format!("a name of {} bytes; {MAX_NAME} is the most", name.len()));
            }
        }
        let bytes = BASE64_STANDARD.decode(&self.frame).map_err(|e| format!("frame: {e}"))?;
        let frame = match (self.kind, self.size) {
            (Name::Binary, None) => Frame::binary(bytes),
            (Name::Text, None) => Frame::text(bytes),
            (Name::TooLarge, Some(size)) => Frame::too_large(size, bytes),
            (Name::TooLarge, None) => {
                return Err("a frame that was too large has a size".to_owned());
            }
            (_, Some(_)) => return Err("size is for frames that were too large".to_owned()),
        };
        let (source, stream) = (self.source.as_ref().into(), self.stream.as_ref().into());
        let origin = Arc::new(Origin { source, stream });
        Ok((time.micros(), Read { origin, frame }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_as_they_were() {
        let origin = Arc::new(Origin { source: "hq".into(), stream: "a \"b\"".into() });
        for frame in [
            Frame::binary(b"\0one".to_vec()),
            Frame::text(b"two".to_vec()),
            Frame::too_large(1 << 40, b"head".to_vec()),
        ] {
            let read = Read { origin: Arc::clone(&origin), frame };
            let kept = KeptFrame { seq: 7, time: 1_795_219_200_123_456, read };
            let text = serde_json::to_string(&Line::from(&kept)).unwrap();
            let line: Line<'_> = serde_json::from_str(&text).unwrap();
            assert_eq!(line.read(), Ok((kept.time, kept.read)), "{text}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        for (change, says) in [
            (r#""time":"noon","kind":"text","frame":"""#, "\"noon\" is no time"),
            (r#""time":"2026-11-21T00:00:00Z","kind":"text","frame":"?""#, "frame: "),
            (r#""time":"2026-11-21T00:00:00Z","kind":"too-large","frame":"""#, "has a size"),
            (r#""time":"2026-11-21T00:00:00Z","kind":"text","size":1,"frame":"""#, "size is for"),
        ] {
            let text = format!("{{\"source\":\"hq\",\"stream\":\"s\",{change}}}");
            let line: Line<'_> = serde_json::from_str(&text).unwrap();
            let said = line.read().unwrap_err();
            assert!(said.contains(says), "{said}");
        }
    }
}
