//! The source `trommel`: what the host has to say of itself, as events. Key type: [`BuiltIn`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::batch::Batch;
use crate::config::BUILT_IN_SOURCE;
use crate::decode::{Decoder, Registry, built_in};
use crate::frame::{Chunk, Frame, Origin};
use crate::pipeline::Outputs;
use crate::timestamp::{Timestamp, now_micros};

/// Makes events of the host's own and hands them to the pipelines that take from `trommel`.
#[derive(Clone)]
pub struct BuiltIn {
    origin: Arc<Origin>,
    outputs: Outputs,
    run: u64,
    number: Arc<AtomicU64>,
    decoder: Decoder,
}

impl BuiltIn {
    /// A source for these pipelines; there may be none.
    pub fn new(outputs: Outputs, registry: Arc<Registry>) -> Self {
        let origin = Origin { source: BUILT_IN_SOURCE.into(), stream: BUILT_IN_SOURCE.into() };
        BuiltIn {
            origin: Arc::new(origin),
            outputs,
            run: now_micros(),
            number: Arc::default(),
            decoder: Decoder::new(registry),
        }
    }

    /// The pipelines that it hands its events to.
    pub fn outputs(&self) -> &Outputs {
        &self.outputs
    }

    /// Makes an event. Ids that are not given are of this run: its start and a number.
    pub fn event(
        &self,
        id: Option<String>,
        ty: &str,
        subject: &str,
        data: &serde_json::Value,
    ) -> Frame {
        let id = id.unwrap_or_else(|| {
            let number = self.number.fetch_add(1, Ordering::Relaxed);
            format!("{:x}-{number}", self.run)
        });
        built_in::frame(&id, ty, subject, Timestamp::now(), data)
    }

    /// The line of an event, with its newline, as a file sink would write it.
    pub fn line(&self, frame: &Frame) -> String {
        let mut batch = Batch::default();
        let decoded = self.decoder.decode(BUILT_IN_SOURCE, frame.clone(), &mut batch);
        let line = batch.live().first().copied().and_then(|row| batch.line_of(row, &self.decoder));
        match (decoded, line) {
            (Ok(()), Some(line)) => line + "\n",
            // The host's own events can be decoded; were it not so, this would be seen.
            (decoded, _) => format!("{{\"error\":\"{decoded:?}\"}}\n"),
        }
    }

    /// Hands events on, waiting for room, and until they are durable where there is a journal. False
    /// where a pipeline has stopped, or the journal is closed.
    pub async fn send(&self, frames: Vec<Frame>) -> bool {
        let mut all_took = true;
        for output in self.outputs.now().iter() {
            let chunk = Chunk::new(Arc::clone(&self.origin), frames.clone());
            if output.send(chunk).await.is_err() {
                tracing::debug!("a pipeline has stopped; events of trommel's own end there");
                all_took = false;
            }
            output.settled().await;
        }
        all_took
    }

    /// Hands an event on where there is room at once; gives back how many pipelines had none.
    pub fn try_send(&self, frame: &Frame) -> usize {
        let chunk = || Chunk::new(Arc::clone(&self.origin), vec![frame.clone()]);
        self.outputs.now().iter().filter(|output| output.try_send(chunk()).is_err()).count()
    }
}
