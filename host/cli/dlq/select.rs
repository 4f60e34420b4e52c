//! Which dead letters a command means. Key type: [`SelectArgs`].

use clap::Args;

use crate::cli::when::when;
use crate::runner::Reason;
use crate::store::{LetterId, Select};

/// Which dead letters are meant: all that is said must fit.
#[derive(Debug, Clone, Args)]
pub(super) struct SelectArgs {
    /// These alone, by their ids
    #[arg(value_name = "ID")]
    ids: Vec<LetterId>,
    /// Of this pipeline; this and the next five may be given more than once, or with commas
    #[arg(long, value_name = "NAME", value_delimiter = ',', help_heading = "Filters")]
    pipeline: Vec<String>,
    /// For this reason: decode, trap, timeout, limit, answer, fault, refused or lost
    #[arg(long, value_name = "REASON", value_delimiter = ',', value_parser = reason, help_heading = "Filters")]
    reason: Vec<Reason>,
    /// On which this plugin failed
    #[arg(long, value_name = "NAME", value_delimiter = ',', help_heading = "Filters")]
    plugin: Vec<String>,
    /// That this sink refused
    #[arg(long, value_name = "NAME", value_delimiter = ',', help_heading = "Filters")]
    sink: Vec<String>,
    /// From this source
    #[arg(long, value_name = "NAME", value_delimiter = ',', help_heading = "Filters")]
    source: Vec<String>,
    /// From this stream
    #[arg(long, value_name = "NAME", value_delimiter = ',', help_heading = "Filters")]
    stream: Vec<String>,
    /// Not older: a time (2026-11-21T09:30:00Z), a date, or how long ago (2h)
    #[arg(long, value_name = "TIME", value_parser = when, help_heading = "Filters")]
    since: Option<u64>,
    /// Older
    #[arg(long, value_name = "TIME", value_parser = when, help_heading = "Filters")]
    until: Option<u64>,
}

fn reason(text: &str) -> Result<Reason, String> {
    let known = Reason::ALL.iter().find(|reason| reason.name() == text);
    known.copied().ok_or_else(|| {
        let names: Vec<&str> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        format!("known: {}", names.join(", "))
    })
}

impl SelectArgs {
    pub fn to_select(&self) -> Select {
        Select {
            ids: self.ids.clone(),
            pipelines: self.pipeline.clone(),
            reasons: self.reason.clone(),
            plugins: self.plugin.clone(),
            sinks: self.sink.clone(),
            sources: self.source.clone(),
            streams: self.stream.clone(),
            since: self.since,
            until: self.until,
        }
    }
}
