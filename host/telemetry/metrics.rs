//! The counts of the host in the text format of Prometheus. Key function: [`text`].

use std::fmt::Write as _;

use super::View;
use crate::runner::Figure;

/// Metrics as Prometheus reads them.
pub(super) fn text(view: &View) -> String {
    let mut out = String::new();
    for (name, help, get) in COUNTERS {
        head(&mut out, name, help, "counter");
        for pipeline in view.pipelines.iter() {
            line(&mut out, name, &[("pipeline", &pipeline.name)], get(&pipeline.tally.counts()));
        }
    }
    let name = "trommel_in_flight";
    head(&mut out, name, "Events on their way.", "gauge");
    for pipeline in view.pipelines.iter() {
        line(&mut out, name, &[("pipeline", &pipeline.name)], pipeline.tally.counts().in_flight());
    }
    streams(&mut out, view);
    plugins(&mut out, view);
    let name = "trommel_alerts_raised";
    head(&mut out, name, "Alerts that are raised.", "gauge");
    line(&mut out, name, &[], view.board.len() as u64);
    out
}

/// What plugins count themselves, under their own names as a label.
fn plugins(out: &mut String, view: &View) {
    let (counters, gauges) = ("trommel_plugin_counter_total", "trommel_plugin_gauge");
    let plugins = view.plugins.borrow().clone();
    let (mut counted, mut gauged) = (String::new(), String::new());
    for (plugin, entry) in &plugins.entries {
        let figures = entry.serving.as_ref().map(|factory| factory.figures()).unwrap_or_default();
        for (name, figure) in figures {
            let labels = [("plugin", plugin.as_str()), ("name", name.as_str())];
            match figure {
                Figure::Counter(value) => line(&mut counted, counters, &labels, value),
                Figure::Gauge(value) => line(&mut gauged, gauges, &labels, value),
            }
        }
    }
    head(out, counters, "Counters of plugins.", "counter");
    out.push_str(&counted);
    head(out, gauges, "Gauges of plugins.", "gauge");
    out.push_str(&gauged);
}

type Get = fn(&crate::tally::Counts) -> u64;

const COUNTERS: &[(&str, &str, Get)] = &[
    ("trommel_received_total", "Frames that came in.", |c| c.received),
    ("trommel_delivered_total", "Events that everybody took.", |c| c.delivered),
    ("trommel_filtered_total", "Events that a plugin ended.", |c| c.filtered),
    ("trommel_dead_lettered_total", "Events that are dead letters.", |c| c.dead_lettered),
];

fn streams(out: &mut String, view: &View) {
    let statuses: Vec<_> = view.streams.iter().map(|status| status.get()).collect();
    let name = "trommel_stream_frames_total";
    head(out, name, "Frames that a stream brought.", "counter");
    for s in &statuses {
        line(out, name, &[("source", &s.source), ("stream", &s.stream)], s.frames);
    }
    let name = "trommel_stream_connections_total";
    head(out, name, "Connections of a stream that came about.", "counter");
    for s in &statuses {
        line(out, name, &[("source", &s.source), ("stream", &s.stream)], s.connections);
    }
}

fn head(out: &mut String, name: &str, help: &str, kind: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(out: &mut String, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
    let labels: Vec<String> = labels
        .iter()
        .map(|(name, value)| {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            format!("{name}=\"{value}\"")
        })
        .collect();
    let _ = match labels.join(",") {
        labels if labels.is_empty() => writeln!(out, "{name} {value}"),
        labels => writeln!(out, "{name}{{{labels}}} {value}"),
    };
}
