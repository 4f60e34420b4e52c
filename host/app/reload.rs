//! What differs between two configurations, in words. Pure; secrets are compared and never said. Key
//! functions: [`changes`], [`fixed`].

use crate::config::{CentralConfig, Config, PipelineConfig, SinkConfig, SourceConfig, SourceKind};

/// What cannot change while the host runs, and does between two configurations.
pub(super) fn fixed(before: &Config, now: &Config) -> Vec<&'static str> {
    let differs = [
        ("data_dir", before.data_dir != now.data_dir),
        ("plugin_dir", before.plugin_dir != now.plugin_dir),
        ("listen", before.listen != now.listen),
        ("journal", before.journal != now.journal),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}

/// The changes that can be made to a host that runs, each with its key.
pub(super) fn changes(before: &Config, now: &Config) -> Vec<String> {
    let mut told = Vec::new();
    let by_name = |a: &SourceConfig, b: &SourceConfig| a.name == b.name;
    tell(&mut told, "source", &before.sources, &now.sources, by_name, |s| &s.name, source);
    let by_name = |a: &PipelineConfig, b: &PipelineConfig| a.name == b.name;
    tell(&mut told, "pipeline", &before.pipelines, &now.pipelines, by_name, |p| &p.name, pipeline);
    let by_name = |a: &SinkConfig, b: &SinkConfig| a.name == b.name;
    tell(&mut told, "sink", &before.sinks, &now.sinks, by_name, |s| &s.name, sink);
    told
}

fn tell<T: PartialEq>(
    told: &mut Vec<String>,
    table: &str,
    before: &[T],
    now: &[T],
    is_same: impl Fn(&T, &T) -> bool,
    name: impl Fn(&T) -> &String,
    differences: impl Fn(&T, &T) -> Vec<String>,
) {
    for next in now {
        let key = format!("{table}.{}", name(next));
        match before.iter().find(|old| is_same(old, next)) {
            None => told.push(format!("{key} added")),
            Some(old) if old != next => {
                told.extend(differences(old, next).iter().map(|what| format!("{key}: {what}")));
            }
            Some(_) => {}
        }
    }
    for old in before.iter().filter(|old| !now.iter().any(|next| is_same(old, next))) {
        told.push(format!("{table}.{} removed", name(old)));
    }
}

fn source(before: &SourceConfig, now: &SourceConfig) -> Vec<String> {
    let (SourceKind::Central(before), SourceKind::Central(now)) = (&before.kind, &now.kind) else {
        return vec!["changed, begins anew".to_owned()];
    };
    let bare = |central: &CentralConfig| CentralConfig { streams: Vec::new(), ..central.clone() };
    if bare(before) != bare(now) {
        return vec!["changed, reconnects".to_owned()];
    }
    let mut told = Vec::new();
    for stream in &now.streams {
        match before.streams.iter().find(|old| old.name == stream.name) {
            None => told.push(format!("stream {} added", stream.name)),
            Some(old) if old != stream => {
                told.push(format!("stream {} changed, reconnects", stream.name));
            }
            Some(_) => {}
        }
    }
    for old in &before.streams {
        if !now.streams.iter().any(|stream| stream.name == old.name) {
            told.push(format!("stream {} removed", old.name));
        }
    }
    if told.is_empty() {
        told.push("streams in another order".to_owned());
    }
    told
}

fn pipeline(before: &PipelineConfig, now: &PipelineConfig) -> Vec<String> {
    let differs = [
        ("from", before.from != now.from),
        ("through", before.through != now.through),
        ("to", before.to != now.to),
    ];
    let changed = differs.into_iter().filter(|(_, differs)| *differs);
    changed.map(|(key, _)| format!("{key} changed")).collect()
}

fn sink(before: &SinkConfig, now: &SinkConfig) -> Vec<String> {
    let differs = [
        ("changed, opened anew", before.kind != now.kind),
        ("types changed", before.types != now.types),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(what, _)| what.to_owned()).collect()
}
