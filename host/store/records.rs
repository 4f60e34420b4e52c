//! What the store holds, as records: what a pipeline came to, where files begin, gaps. Each is
//! written whole or not at all. Plain data. Key type: [`Record`].

use std::path::PathBuf;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::frame::Kind;
use crate::outcome::Signal;
use crate::runner::Reason;
use crate::state::Change;

/// One atomic write.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Record {
    /// A pipeline came further.
    Commit(Commit),
    /// A file sink begins, or goes on, in a file whose content up to there is nobody's to cut off.
    Base(Base),
    /// A stretch of time of which nobody knows what was sent.
    Gap(Gap),
    /// Alerts of a pipeline were told, up to the one of this number.
    Told {
        /// The pipeline.
        pipeline: String,
        /// Number of the last one.
        upto: u64,
    },
    /// Dead letters that are done with.
    Settled(Vec<LetterId>),
    /// A pipeline that the configuration has no more, whose place in the journal is given up.
    Released {
        /// The pipeline.
        pipeline: String,
    },
    /// What is not a pipeline's, whole: records before this one are not needed for it.
    Checkpoint(Checkpoint),
    /// Dead letters that nobody is done with, written again, so that what lies between the record that
    /// they were in and this one can be let go.
    Letters(Vec<Carried>),
}

/// Dead letters of one record that nobody is done with: all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// The record that they came with, which their ids name.
    pub record: u64,
    /// The pipeline.
    pub pipeline: String,
    /// Places of those of that record that are done with.
    pub settled: Vec<u32>,
    /// The others, with their places, ascending.
    pub letters: Vec<(u32, Letter)>,
}

/// What is not a pipeline's, whole.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// What of each file is there to stay.
    pub files: Vec<Written>,
    /// Gaps, the oldest first.
    pub gaps: Vec<Gap>,
    /// Dead letters that are done with, of records that are still there.
    pub settled: Vec<LetterId>,
    /// The number of the last alert that was told, by pipeline.
    pub told: Vec<(String, u64)>,
    /// The pipelines there are: of one whose own records are gone it is known that it was there.
    pub pipelines: Vec<String>,
    /// Dead letters that nobody is done with: how many, by record.
    pub letters: Vec<(u64, u32)>,
}

/// How far a pipeline came, with all that goes with it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    /// The pipeline.
    pub pipeline: String,
    /// Its number in the pipeline: one more than that of the commit before.
    pub number: u64,
    /// The next record of the journal that it is to take.
    pub cursor: u64,
    /// When, in microseconds since 1970.
    pub time: u64,
    /// Whether states and alerts are all there are, and not changes since the commit before.
    pub is_whole: bool,
    /// What its plugins remember, by plugin.
    pub states: Vec<(String, Vec<Change>)>,
    /// Alerts that are raised, or no longer.
    pub alerts: Vec<Raised>,
    /// Alerts that are to be told.
    pub news: Vec<News>,
    /// Dead letters.
    pub letters: Vec<Letter>,
    /// What it wrote to files; of a whole commit, what of all files is there to stay.
    pub files: Vec<Written>,
    /// Dead letters that it took again and is done with.
    pub settled: Vec<LetterId>,
}

/// An alert of a plugin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Raised {
    /// The plugin.
    pub plugin: String,
    /// The alert's key.
    pub key: String,
    /// As it was raised; `None` when it was cleared.
    pub signal: Option<Signal>,
}

/// An alert that is to be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct News {
    /// Its number in its pipeline, growing.
    pub number: u64,
    /// What it is about.
    pub subject: String,
    /// The event's data, JSON.
    pub data: String,
}

/// A dead letter, durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// When it became one, in microseconds since 1970.
    pub time: u64,
    /// Why.
    pub reason: Reason,
    /// In words; for a trap with its backtrace.
    pub detail: String,
    /// Where on its way.
    pub stage: Stage,
    /// The plugin's version, if it was one.
    pub version: String,
    /// Whether it went on to all others, as what an alert plugin, an export plugin or a sink did not
    /// take does.
    pub went_on: bool,
    /// The source that it came from.
    pub source: String,
    /// The stream that it came from.
    pub stream: String,
    /// The event's line, if it has one.
    pub event: Option<String>,
    /// The frame as received, if there was one.
    pub raw: Option<Vec<u8>>,
    /// What it was on the wire.
    pub kind: Kind,
}

impl Letter {
    /// How much it takes in a record, bytes, roughly.
    pub fn size(&self) -> usize {
        let event = self.event.as_ref().map_or(0, String::len);
        self.detail.len() + event + self.raw.as_ref().map_or(0, Vec::len) + 100
    }
}

/// Where on its way an event became a dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Before any plugin.
    Decode,
    /// In a plugin.
    Plugin(String),
    /// In a sink.
    Sink(String),
}

/// Tells a dead letter from all others: the record of the store that it came with, and its place there.
/// It stays the same when the letter is written again in another record. In JSON it is its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LetterId {
    /// Number of the record.
    pub record: u64,
    /// Its place in it.
    pub place: u32,
}

impl std::fmt::Display for LetterId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.record, self.place)
    }
}

impl std::str::FromStr for LetterId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('.').and_then(|(record, place)| {
            Some(LetterId { record: record.parse().ok()?, place: place.parse().ok()? })
        });
        parsed.ok_or_else(|| format!("{text:?} is not the id of a dead letter such as \"812.0\""))
    }
}

impl Serialize for LetterId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serializer.is_human_readable() {
            true => serializer.collect_str(self),
            false => (self.record, self.place).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for LetterId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return String::deserialize(deserializer)?.parse().map_err(D::Error::custom);
        }
        let (record, place) = Deserialize::deserialize(deserializer)?;
        Ok(LetterId { record, place })
    }
}

/// Which file, whatever it is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileId {
    /// Where it was opened.
    #[serde(with = "path_bytes")]
    pub path: PathBuf,
    /// Its device.
    pub dev: u64,
    /// Its number there.
    pub ino: u64,
    /// Grows each time it is opened, or was cut by somebody else.
    pub generation: u64,
}

/// A part of a file that a pipeline wrote: offsets of its first byte and of the first byte after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// The file.
    pub file: FileId,
    /// The parts, ascending.
    pub parts: Vec<(u64, u64)>,
}

/// From where on a file is written by this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// The file.
    pub file: FileId,
    /// What it holds already.
    pub len: u64,
}

/// A stretch of time of which nobody knows what was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Its number; one that is told again, since it is over, keeps it.
    pub number: u64,
    /// The source.
    pub source: String,
    /// The stream; empty, as the source then is, where nobody knows of which.
    pub stream: String,
    /// Begin, in microseconds since 1970.
    pub from: u64,
    /// End; `None` while it lasts.
    pub to: Option<u64>,
    /// Why: one of a few words.
    pub reason: String,
    /// What happened, in words.
    pub detail: String,
    /// Id of the last event before.
    pub last_id: String,
    /// Id of the first event after.
    pub first_id: String,
    /// Whether the server sent what it had kept meanwhile; `None` where it may have.
    pub replayed: Option<bool>,
    /// Records of the journal that are lost: the first and the last.
    pub records: Option<(u64, u64)>,
}

/// Paths as they are: not all are UTF-8.
mod path_bytes {
    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
    use std::path::{Path, PathBuf};

    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
        path.as_os_str().as_bytes().serialize(to)
    }

    pub fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<PathBuf, D::Error> {
        Ok(OsString::from_vec(Vec::deserialize(from)?).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_text_in_json_and_two_numbers_on_disk() {
        let id = LetterId { record: 812, place: 3 };
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!((&*json, serde_json::from_str(&json).ok()), ("\"812.3\"", Some(id)));
        let bytes = postcard::to_allocvec(&id).unwrap();
        assert_eq!(bytes, postcard::to_allocvec(&(812_u64, 3_u32)).unwrap());
        assert_eq!(postcard::from_bytes(&bytes), Ok(id));
    }
}
