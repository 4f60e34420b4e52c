//! The ledger: one line for each event of a stream's clock, in order, once nobody can get it any
//! more. A thread for each stream, one file for all. Key type: [`LedgerFile`].

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};

use super::SimError;
use super::batch::{Batch, EXTRA, Settled};
use crate::decode::catalog::Stream;
use crate::decode::{Data, Envelope, Registry};
use crate::text::push_json_string;

/// A batch for the ledger.
#[derive(Debug)]
pub(super) struct Entry {
    /// The events.
    pub batch: Arc<Batch>,
    /// When their counts are final.
    pub settled: Settled,
}

/// The file that all streams write to, whole lines at a time.
#[derive(Debug)]
pub(super) struct LedgerFile {
    path: PathBuf,
    file: Mutex<BufWriter<File>>,
}

impl LedgerFile {
    /// Begins a new ledger; what the file held before is gone.
    pub fn create(path: &Path) -> Result<Self, SimError> {
        let failed = |source| SimError::File { path: path.to_owned(), source };
        let file = File::create(path).map_err(failed)?;
        Ok(LedgerFile { path: path.to_owned(), file: Mutex::new(BufWriter::new(file)) })
    }

    fn write(&self, lines: &str, flush: bool) -> Result<(), SimError> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let written = file.write_all(lines.as_bytes());
        let written = written.and_then(|()| if flush { file.flush() } else { Ok(()) });
        written.map_err(|source| SimError::File { path: self.path.clone(), source })
    }
}

/// Writes the lines of one stream until its clock has stopped.
pub(super) fn run(
    stream: &'static Stream,
    entries: &Receiver<Entry>,
    file: &LedgerFile,
) -> Result<(), SimError> {
    let registry = Registry::built_in();
    let mut lines = String::new();
    let mut next = entries.recv().ok();
    while let Some(entry) = next {
        entry.settled.wait();
        lines.clear();
        push_lines(stream, &registry, &entry.batch, &mut lines)?;
        next = match entries.try_recv() {
            Ok(entry) => Some(entry),
            Err(TryRecvError::Disconnected) => None,
            Err(TryRecvError::Empty) => {
                // Nothing more for now: whoever follows the file should see all there is.
                file.write(&lines, true)?;
                lines.clear();
                entries.recv().ok()
            }
        };
        file.write(&lines, next.is_none())?;
    }
    Ok(())
}

fn push_lines(
    stream: &'static Stream,
    registry: &Registry,
    batch: &Batch,
    lines: &mut String,
) -> Result<(), SimError> {
    for (index, mark) in batch.marks.iter().enumerate() {
        if mark.kind == EXTRA {
            continue;
        }
        let failed = |detail: String| SimError::Entry { stream: stream.name, detail };
        let frame = &batch.bytes[batch.start(index)..mark.end as usize];
        let envelope = Envelope::read(payload_of(frame));
        let envelope = envelope.ok_or_else(|| failed("no envelope".into()))?;
        let Data::Message { type_url, value } = envelope.data else {
            return Err(failed("no payload".into()));
        };
        let message = registry.choose(Some(stream.name), type_url, envelope.ty);
        let message = message.ok_or_else(|| failed(format!("unknown message {type_url}")))?;
        lines.push_str("{\"stream\":");
        push_json_string(lines, stream.name);
        lines.push_str(",\"id\":");
        push_json_string(lines, envelope.id);
        lines.push_str(",\"type\":");
        push_json_string(lines, envelope.ty);
        lines.push_str(&format!(",\"sent\":{},\"data\":", batch.sent(index)));
        registry.write_json(message, value, lines).map_err(|error| failed(error.to_string()))?;
        lines.push_str("}\n");
    }
    Ok(())
}

/// The payload of a frame that the simulator made: unmasked and complete.
fn payload_of(frame: &[u8]) -> &[u8] {
    let header = match frame.get(1) {
        Some(126) => 4,
        Some(127) => 10,
        _ => 2,
    };
    frame.get(header..).unwrap_or_default()
}
