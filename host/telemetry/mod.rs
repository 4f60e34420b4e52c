//! What the host shows of itself: logs, metrics, health, status. Key types: [`View`], [`serve`].

pub mod log;
mod metrics;
mod server;
mod status;

use std::sync::{Arc, Mutex};

pub use server::{PluginRow, plugin_rows, serve};
pub use status::{PipelineRow, StatusReport};

use crate::alert::Board;
use crate::pipeline::Queue;
use crate::runner::Plugins;
use crate::source::SharedStatus;
use crate::tally::Tally;

/// Everything that is shown, read where it is kept.
#[derive(Clone)]
pub struct View {
    /// When the host was started, in microseconds since 1970.
    pub started: u64,
    /// The pipelines.
    pub pipelines: Arc<[PipelineView]>,
    /// The streams of all sources.
    pub streams: Arc<[SharedStatus]>,
    /// The plugins.
    pub plugins: tokio::sync::watch::Receiver<Arc<Plugins>>,
    /// The alerts that are raised.
    pub board: Arc<Board>,
}

/// What is shown of a pipeline.
#[derive(Clone)]
pub struct PipelineView {
    /// Its name.
    pub name: String,
    /// What became of its events.
    pub tally: Arc<Tally>,
    /// Why it is held, if it is.
    pub held: Arc<Mutex<Option<String>>>,
    /// What waits before it.
    pub queue: Queue,
}
