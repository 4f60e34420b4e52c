//! Dead letters: what became of no use to anybody, kept with the reason. A line each in
//! `data_dir/dead-letters.jsonl`. Key types: [`DeadLetter`], [`DeadLetters`].

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize as _;
use serde_json::value::RawValue;

use crate::backoff::disk_hint;
use crate::frame::{Frame, Origin};
use crate::runner::Reason;
use crate::store::{Letter, Stage};
use crate::timestamp::{Timestamp, format_time, now_micros};

/// One dead letter.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// Why.
    pub reason: Reason,
    /// In words; for a trap with its backtrace.
    pub detail: String,
    /// In which pipeline.
    pub pipeline: String,
    /// On which plugin, and its version; both empty where it was none.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// By which sink it was refused; empty where it was none.
    pub sink: String,
    /// Whether it went on to all others, as what an alert plugin, an export plugin or a sink did not
    /// take does.
    pub went_on: bool,
    /// Where it came from.
    pub origin: Option<Arc<Origin>>,
    /// The event's line, if it has one.
    pub event: Option<String>,
    /// The frame as received, if there was one.
    pub frame: Option<Frame>,
}

#[derive(serde::Serialize)]
struct Line<'a> {
    time: String,
    reason: &'static str,
    detail: &'a str,
    pipeline: &'a str,
    plugin: Option<&'a str>,
    version: Option<&'a str>,
    event: Option<&'a RawValue>,
    raw: Option<String>,
}

impl DeadLetter {
    /// One of nothing yet: no plugin, no sink, no event and no frame.
    pub fn new(pipeline: &str, reason: Reason, detail: String) -> DeadLetter {
        DeadLetter {
            reason,
            detail,
            pipeline: pipeline.to_owned(),
            plugin: String::new(),
            version: String::new(),
            sink: String::new(),
            went_on: false,
            origin: None,
            event: None,
            frame: None,
        }
    }

    /// As it is stored.
    pub fn to_stored(&self) -> Letter {
        let name = |of: fn(&Origin) -> &Arc<str>| {
            self.origin.as_deref().map(|origin| of(origin).to_string()).unwrap_or_default()
        };
        Letter {
            time: now_micros(),
            reason: self.reason,
            detail: self.detail.clone(),
            stage: match (&*self.plugin, &*self.sink) {
                ("", "") => Stage::Decode,
                ("", sink) => Stage::Sink(sink.to_owned()),
                (plugin, _) => Stage::Plugin(plugin.to_owned()),
            },
            version: self.version.clone(),
            went_on: self.went_on,
            source: name(|origin| &origin.source),
            stream: name(|origin| &origin.stream),
            event: self.event.clone(),
            raw: self.frame.as_ref().map(|frame| frame.bytes.to_vec()),
            kind: self.frame.as_ref().map(|frame| frame.kind).unwrap_or_default(),
        }
    }

    /// As a line, with its newline.
    ///
    /// # Errors
    /// When the event's line is not JSON, which would be a fault of the host's.
    fn push_line(&self, out: &mut Vec<u8>) -> io::Result<()> {
        let event = self.event.as_deref().map(serde_json::from_str).transpose()?;
        let line = Line {
            time: format_time(Timestamp::now()),
            reason: self.reason.name(),
            detail: &self.detail,
            pipeline: &self.pipeline,
            plugin: Some(&*self.plugin).filter(|name| !name.is_empty()),
            version: Some(&*self.version).filter(|_| !self.plugin.is_empty()),
            event,
            raw: self.frame.as_ref().map(|frame| BASE64_STANDARD.encode(&frame.bytes)),
        };
        line.serialize(&mut serde_json::Serializer::new(&mut *out))?;
        out.push(b'\n');
        Ok(())
    }
}

/// A file that lines are appended to: dead letters, and alerts too.
#[derive(Debug)]
pub struct Appender {
    path: PathBuf,
    file: Mutex<File>,
    /// Why nothing can be written at the moment.
    trouble: Mutex<Option<String>>,
}

impl Appender {
    /// Opens the file, or makes it, readable by its user alone.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub fn open(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        Ok(Appender { path: path.to_owned(), file: Mutex::new(file), trouble: Mutex::default() })
    }

    /// Appends lines with one write. Tells the log when that begins to fail, and when it works again.
    ///
    /// # Errors
    /// Why not.
    pub fn append(&self, lines: &[u8]) -> io::Result<()> {
        let written = self.write(lines);
        let path = self.path.display();
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match &written {
            Ok(()) => {
                if trouble.take().is_some() {
                    tracing::info!(%path, "is written again");
                }
            }
            Err(error) => {
                let hint = disk_hint(error);
                if trouble.is_none() {
                    tracing::error!(
                        "cannot write {path}: {error}; what is to be written there waits{hint}"
                    );
                }
                *trouble = Some(format!("cannot write {path}: {error}{hint}"));
            }
        }
        written
    }

    /// Why nothing can be written at the moment, with a hint behind it.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn write(&self, lines: &[u8]) -> io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let before = file.metadata()?.len();
        file.write_all(lines).inspect_err(|_| {
            // A line is there whole or not at all.
            let _ = file.set_len(before);
        })
    }
}

/// Where dead letters are written.
#[derive(Debug)]
pub struct DeadLetters {
    file: Appender,
    /// How many were written, by pipeline and reason.
    counts: Mutex<BTreeMap<(String, Reason), u64>>,
}

impl DeadLetters {
    /// Opens the file.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(DeadLetters { file: Appender::open(path)?, counts: Mutex::default() })
    }

    /// Writes dead letters.
    ///
    /// # Errors
    /// Why not; none of them is written then.
    pub fn write(&self, letters: &[DeadLetter]) -> io::Result<()> {
        let mut lines = Vec::new();
        for letter in letters {
            letter.push_line(&mut lines)?;
        }
        self.file.append(&lines)?;
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        for letter in letters {
            *counts.entry((letter.pipeline.clone(), letter.reason)).or_default() += 1;
        }
        Ok(())
    }

    /// Why none can be written at the moment.
    pub fn trouble(&self) -> Option<String> {
        self.file.trouble()
    }

    /// How many were written in a pipeline for a reason. More than the tally's dead-lettered: what an
    /// alert plugin could not look at is noted, and goes on.
    pub fn count(&self, pipeline: &str, reason: Reason) -> u64 {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.get(&(pipeline.to_owned(), reason)).copied().unwrap_or(0)
    }
}
