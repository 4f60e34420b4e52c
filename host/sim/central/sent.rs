//! The sent log: one line for each event written to a connection, in the order of writing. Key type:
//! [`SentLog`].

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tokio::sync::mpsc;

use super::SimError;
use super::batch::{Batch, EXTRA};
use super::websocket::payload_of;
use crate::decode::Envelope;
use crate::text::push_json_string;

/// The file that all connections write to, whole lines at a time.
#[derive(Debug)]
pub(super) struct SentLog {
    path: PathBuf,
    file: Mutex<BufWriter<File>>,
    /// Where it is said that it cannot be written.
    failed: mpsc::Sender<Result<(), SimError>>,
}

impl SentLog {
    /// Begins a new log; what the file held before is gone.
    pub fn create(
        path: &Path,
        failed: mpsc::Sender<Result<(), SimError>>,
    ) -> Result<Self, SimError> {
        let file = File::create(path);
        let file = file.map_err(|source| SimError::File { path: path.to_owned(), source })?;
        Ok(SentLog { path: path.to_owned(), file: Mutex::new(BufWriter::new(file)), failed })
    }

    /// Notes frames that are out.
    pub fn note(
        &self,
        connection: u32,
        stream: &str,
        batch: &Batch,
        frames: impl Iterator<Item = u32>,
    ) {
        let mut lines = String::new();
        for frame in frames.map(|frame| frame as usize) {
            let event = batch.marks.get(frame).filter(|mark| mark.kind != EXTRA);
            let Some(event) = event.and_then(|_| Envelope::read(payload_of(batch.frame(frame))))
            else {
                continue;
            };
            lines.push_str(&format!("{{\"connection\":{connection},\"stream\":"));
            push_json_string(&mut lines, stream);
            lines.push_str(",\"id\":");
            push_json_string(&mut lines, event.id);
            lines.push_str("}\n");
        }
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(source) = file.write_all(lines.as_bytes()).and_then(|()| file.flush()) {
            // One word is enough to stop the simulator; for more there may be no room.
            let path = self.path.clone();
            let _ = self.failed.try_send(Err(SimError::File { path, source }));
        }
    }
}
