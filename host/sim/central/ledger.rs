//! The ledger: one line for each event of a stream's clock, in order, once nobody can get it any
//! more. A thread for each stream, one file for all. Key type: [`LedgerFile`].

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};

use super::SimError;
use super::batch::{Batch, EXTRA, Sent, Settled};
use super::websocket::payload_of;
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
    let sent = batch.sent();
    let mut sent = &sent[..];
    for (index, mark) in batch.marks.iter().enumerate() {
        let (connections, others) = sent.split_at(of_frame(sent, index));
        sent = others;
        if mark.kind == EXTRA {
            continue;
        }
        let failed = |detail: String| SimError::Entry { stream: stream.name, detail };
        let envelope = Envelope::read(payload_of(batch.frame(index)));
        let envelope = envelope.ok_or_else(|| failed("no envelope".into()))?;
        let Data::Message { type_url, value } = envelope.data else {
            return Err(failed("no payload".into()));
        };
        let chosen = registry.choose(Some(stream.name), type_url, envelope.ty);
        let chosen = chosen.ok_or_else(|| failed(format!("unknown message {type_url}")))?;
        lines.push_str("{\"stream\":");
        push_json_string(lines, stream.name);
        lines.push_str(",\"id\":");
        push_json_string(lines, envelope.id);
        lines.push_str(",\"type\":");
        push_json_string(lines, envelope.ty);
        push_connections(lines, connections);
        lines.push_str(",\"data\":");
        registry
            .write_json(chosen.message, value, lines)
            .map_err(|error| failed(error.to_string()))?;
        lines.push_str("}\n");
    }
    Ok(())
}

/// How many of these are of one frame; they are in order, and all before it are gone.
fn of_frame(sent: &[Sent], frame: usize) -> usize {
    sent.iter().take_while(|sent| sent.frame as usize == frame).count()
}

fn push_connections(lines: &mut String, connections: &[Sent]) {
    lines.push_str(&format!(",\"sent\":{},\"connections\":[", connections.len()));
    for (index, Sent { connection, .. }) in connections.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        lines.push_str(&format!("{comma}{connection}"));
    }
    lines.push(']');
}
