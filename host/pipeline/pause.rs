//! How long a pipeline stands still for a change of its plugins: from the end of the last batch of
//! the old version to the beginning of the first one of the new. Where nothing was waiting meanwhile
//! only the change itself counts. Key type: [`Pauses`].

use std::sync::Arc;
use std::time::Instant;

use crate::histogram::Histogram;
use crate::runner::Info;

/// What the pipeline has been doing, as far as it matters for the next pause.
#[derive(Debug)]
pub(super) struct Pauses {
    pipeline: String,
    histogram: Arc<Histogram>,
    /// When it last was done with a batch, if more was waiting then.
    free: Option<Instant>,
    /// What took effect since, and from when on nothing moved.
    news: Vec<News>,
    since: Option<Instant>,
}

/// A plugin that takes effect.
#[derive(Debug)]
pub(super) struct News {
    pub info: Arc<Info>,
    /// Whether it takes the place of another version.
    pub is_reload: bool,
}

impl Pauses {
    pub fn new(pipeline: &str, histogram: Arc<Histogram>) -> Self {
        let pipeline = pipeline.to_owned();
        Pauses { pipeline, histogram, free: None, news: Vec::new(), since: None }
    }

    /// The pipeline is done with a batch.
    pub fn batch_ended(&mut self, is_more_waiting: bool) {
        self.free = is_more_waiting.then(Instant::now);
    }

    /// Plugins took effect; looking for that began at `begun`.
    pub fn changed(&mut self, begun: Instant, news: &mut Vec<News>) {
        if !news.is_empty() {
            self.since.get_or_insert(self.free.unwrap_or(begun));
            self.news.append(news);
        }
    }

    /// The pipeline is about to work again, or has nothing to do. Only now is it told what changed:
    /// a log may be slow.
    pub fn over(&mut self) {
        let Some(since) = self.since.take() else { return };
        let pause = since.elapsed();
        if self.news.iter().any(|news| news.is_reload) {
            self.histogram.observe(pause);
        }
        for News { info, is_reload } in self.news.drain(..) {
            tracing::info!(
                pipeline = self.pipeline,
                plugin = info.name,
                version = info.version,
                role = info.role.name(),
                pause_us = is_reload.then_some(pause.as_nanos() as f64 / 1e3),
                "plugin takes effect"
            );
        }
    }
}
