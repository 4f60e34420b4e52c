//! The metrics page: read from where things are counted at the moment it is asked for, and written
//! as OpenMetrics or as the older text format. Key type: [`Page`].

use std::fmt;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::names::{self, Family};
use super::process::Process;
use super::{DurableView, PipelineView, SinkView, View};
use crate::gap;
use crate::histogram::Histogram;
use crate::meter::ReloadMeter;
use crate::runner::{Figure, Plugins, Reason};
use crate::source::{State, Status};
use crate::timestamp::now_micros;

/// What a scraper that knows it is given.
pub(super) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// What all others are given.
pub(super) const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The page of one host.
pub(super) struct Page {
    registry: Registry,
}

impl Page {
    /// A page of what the view shows.
    pub fn new(view: View) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Source(view)));
        Page { registry }
    }

    /// All metrics as OpenMetrics.
    ///
    /// # Errors
    /// When the library cannot write one of them, which would be a fault of the host's.
    pub fn open_metrics(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// All metrics in the text format 0.0.4.
    ///
    /// # Errors
    /// As for `open_metrics`.
    pub fn classic(&self) -> Result<String, fmt::Error> {
        Ok(to_classic(&self.open_metrics()?))
    }
}

/// The older format differs in two things: a counter's comments name it as its samples do, and there
/// is no end mark.
fn to_classic(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    for line in open_metrics.lines().filter(|line| *line != "# EOF") {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(what), Some(name), Some(rest)) if names::is_counter(name) => {
                text.extend(["# ", what, " ", name, "_total ", rest]);
            }
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

/// Gathers everything on each scrape.
struct Source(View);

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source")
    }
}

impl Collector for Source {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let view = &self.0;
        let mut out = Out(encoder);
        out.one(&names::BUILD, &[env!("CARGO_PKG_VERSION")], Value::Count(1))?;
        pipelines(&mut out, view)?;
        streams(&mut out, view)?;
        plugins(&mut out, &view.plugins.borrow().clone())?;
        calls(&mut out, view)?;
        reloads(&mut out, &view.reloads)?;
        sinks(&mut out, view)?;
        disk(&mut out, view)?;
        durable(&mut out, view)?;
        out.one(&names::ALERTS, &[], Value::Count(view.board.len() as u64))?;
        process(&mut out, &Process::read())
    }
}

/// The value of a sample.
enum Value {
    Count(u64),
    Number(f64),
    Spread { sum: f64, count: u64, buckets: Vec<(f64, u64)> },
}

impl Value {
    fn spread(histogram: &Histogram) -> Self {
        let in_seconds =
            |bound: Option<Duration>| bound.map_or(f64::INFINITY, |bound| bound.as_secs_f64());
        let buckets = histogram.buckets().into_iter();
        let buckets: Vec<_> = buckets.map(|(bound, n)| (in_seconds(bound), n)).collect();
        let count = buckets.iter().map(|bucket| bucket.1).sum();
        Value::Spread { sum: histogram.sum(), count, buckets }
    }
}

struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn one(&mut self, family: &Family, labels: &[&str], value: Value) -> fmt::Result {
        self.all(family, |sample| sample.add(labels, value))
    }

    /// One family: `fill` adds its samples.
    fn all(
        &mut self,
        family: &Family,
        fill: impl FnOnce(&mut Samples<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let metric = self.0.encode_descriptor(family.name, family.help, None, family.kind)?;
        fill(&mut Samples { metric, family })
    }
}

struct Samples<'a> {
    metric: MetricEncoder<'a>,
    family: &'a Family,
}

impl Samples<'_> {
    fn add(&mut self, labels: &[&str], value: Value) -> fmt::Result {
        debug_assert_eq!(labels.len(), self.family.labels.len(), "{}", self.family.name);
        let named: Vec<(&str, &str)> =
            self.family.labels.iter().copied().zip(labels.iter().copied()).collect();
        if named.is_empty() {
            return write(&mut self.metric, self.family.kind, &value);
        }
        write(&mut self.metric.encode_family(&named)?, self.family.kind, &value)
    }
}

fn write(metric: &mut MetricEncoder<'_>, kind: MetricType, value: &Value) -> fmt::Result {
    match (kind, value) {
        (_, Value::Spread { sum, count, buckets }) => {
            metric.encode_histogram::<NoLabelSet>(*sum, *count, buckets, None)
        }
        (MetricType::Counter, Value::Count(n)) => {
            metric.encode_counter::<NoLabelSet, _, f64>(n, None)
        }
        (MetricType::Counter, Value::Number(n)) => {
            metric.encode_counter::<NoLabelSet, _, f64>(n, None)
        }
        (_, Value::Count(n)) => metric.encode_gauge(n),
        (_, Value::Number(n)) => metric.encode_gauge(n),
    }
}

fn pipelines(out: &mut Out<'_>, view: &View) -> fmt::Result {
    let pipelines = view.pipelines.now();
    // One look at each tally, so that the page balances.
    let tallies: Vec<_> = pipelines.iter().map(|pipeline| pipeline.tally.counts()).collect();
    type Get = fn(&crate::tally::Counts) -> u64;
    let of_tally: [(&Family, Get); 5] = [
        (&names::RECEIVED, |counts| counts.received),
        (&names::DELIVERED, |counts| counts.delivered),
        (&names::FILTERED, |counts| counts.filtered),
        (&names::DEAD_LETTERED, |counts| counts.dead_lettered),
        (&names::IN_FLIGHT, |counts| counts.in_flight()),
    ];
    for (family, get) in of_tally {
        out.all(family, |samples| {
            let mut each = pipelines.iter().zip(&tallies);
            each.try_for_each(|(p, counts)| samples.add(&[&p.name], Value::Count(get(counts))))
        })?;
    }
    out.all(&names::DEAD_LETTERS, |samples| {
        let names = pipelines.iter().map(|pipeline| pipeline.name.as_str());
        // What the host's own source had no place for counts under its name.
        for pipeline in names.chain([crate::config::BUILT_IN_SOURCE]) {
            for reason in Reason::ALL {
                let count = view.dead_letters.count(pipeline, reason);
                samples.add(&[pipeline, reason.name()], Value::Count(count))?;
            }
        }
        Ok(())
    })?;
    type Read = fn(&PipelineView) -> Value;
    let others: [(&Family, Read); 9] = [
        (&names::REDRIVEN, |p| Value::Count(p.meter.redriven_so_far())),
        (&names::HELD, |p| {
            let held = p.held.lock().unwrap_or_else(PoisonError::into_inner);
            Value::Count(held.is_some().into())
        }),
        (&names::BATCHES, |p| Value::Count(p.meter.batches())),
        (&names::LATENCY, |p| Value::spread(&p.meter.latency)),
        (&names::PAUSES, |p| Value::spread(&p.pauses)),
        (&names::QUEUE_EVENTS, |p| Value::Count(p.queue.events())),
        (&names::QUEUE_EVENTS_LIMIT, |p| Value::Count(p.queue.max_events().unwrap_or(0))),
        (&names::QUEUE_BYTES, |p| Value::Count(p.queue.bytes())),
        (&names::QUEUE_BYTES_LIMIT, |p| Value::Count(p.queue.max_bytes().unwrap_or(0))),
    ];
    for (family, read) in others {
        out.all(family, |samples| {
            pipelines.iter().try_for_each(|p| samples.add(&[&p.name], read(p)))
        })?;
    }
    Ok(())
}

fn streams(out: &mut Out<'_>, view: &View) -> fmt::Result {
    let statuses: Vec<Status> = view.streams.now().iter().map(|status| status.get()).collect();
    out.all(&names::STREAM_STATE, |samples| {
        for s in &statuses {
            for state in State::ALL {
                let is_it = Value::Count((s.state == state).into());
                samples.add(&[&s.source, &s.stream, state.name()], is_it)?;
            }
        }
        Ok(())
    })?;
    let (now, started) = (now_micros(), view.started);
    type Read<'a> = &'a dyn Fn(&Status) -> Value;
    let families: [(&Family, Read<'_>); 10] = [
        (&names::STREAM_SINCE, &|s| Value::Number(seconds(s.since))),
        (&names::STREAM_LAST, &|s| Value::Number(seconds(s.last_frame))),
        (&names::STREAM_SILENT, &|s| Value::Number(silence(s.last_frame, started, now))),
        (&names::STREAM_FRAMES, &|s| Value::Count(s.frames)),
        (&names::STREAM_BYTES, &|s| Value::Count(s.bytes)),
        (&names::STREAM_CONNECTIONS, &|s| Value::Count(s.connections)),
        (&names::STREAM_FAILURES, &|s| Value::Count(s.failures)),
        (&names::STREAM_GAPS, &|s| Value::Count(s.gaps)),
        (&names::DUPLICATES, &|s| Value::Count(s.duplicates)),
        (&names::CONFLICTS, &|s| Value::Count(s.conflicts)),
    ];
    for (family, read) in families {
        out.all(family, |samples| {
            statuses.iter().try_for_each(|s| samples.add(&[&s.source, &s.stream], read(s)))
        })?;
    }
    gaps(out, view, &statuses)
}

fn gaps(out: &mut Out<'_>, view: &View, statuses: &[Status]) -> fmt::Result {
    let mut counts = view.gaps.counts();
    for status in statuses {
        for reason in gap::Reason::ALL.iter().filter(|reason| reason.is_of_stream()) {
            counts
                .entry((status.source.clone(), status.stream.clone(), reason.name()))
                .or_default();
        }
    }
    // Of records of the journal nobody knows whose they were.
    for reason in gap::Reason::ALL.iter().filter(|reason| !reason.is_of_stream()) {
        counts.entry((String::new(), String::new(), reason.name())).or_default();
    }
    out.all(&names::GAPS, |samples| {
        counts.iter().try_for_each(|((source, stream, reason), count)| {
            samples.add(&[source, stream, reason], Value::Count(*count))
        })
    })?;
    out.all(&names::GAP_OPEN, |samples| {
        statuses.iter().try_for_each(|s| {
            let is_open = view.gaps.is_open(&s.source, &s.stream);
            samples.add(&[&s.source, &s.stream], Value::Count(is_open.into()))
        })
    })
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

/// Seconds since the last frame, or since the start where there was none. The system's clock may have
/// been set back: then 0, never less.
fn silence(last_frame: u64, started: u64, now: u64) -> f64 {
    seconds(now.saturating_sub(last_frame.max(started)))
}

fn plugins(out: &mut Out<'_>, plugins: &Plugins) -> fmt::Result {
    let rows = super::plugin_rows(plugins);
    let serving: Vec<_> = plugins.entries.values().filter_map(|e| e.serving.as_ref()).collect();
    out.all(&names::PLUGIN_LOADED, |samples| {
        serving.iter().map(|factory| factory.info()).try_for_each(|info| {
            let labels = [&*info.name, &info.version, &info.sha256, info.role.name()];
            samples.add(&labels, Value::Count(1))
        })
    })?;
    out.all(&names::PLUGIN_STATE, |samples| {
        for row in &rows {
            for state in ["serving", "compiling", "failed"] {
                samples.add(&[&row.name, state], Value::Count((row.state == state).into()))?;
            }
        }
        Ok(())
    })?;
    type Get = fn(&crate::runner::Memory) -> u64;
    let memory: [(&Family, Get); 3] = [
        (&names::PLUGIN_INSTANCES, |memory| memory.instances),
        (&names::PLUGIN_MEMORY, |memory| memory.used),
        (&names::PLUGIN_MEMORY_LIMIT, |memory| memory.limit),
    ];
    for (family, get) in memory {
        out.all(family, |samples| {
            serving.iter().try_for_each(|factory| {
                samples.add(&[&factory.info().name], Value::Count(get(&factory.memory())))
            })
        })?;
    }
    for family in [&names::PLUGIN_COUNTER, &names::PLUGIN_GAUGE] {
        out.all(family, |samples| {
            for factory in &serving {
                for (name, figure) in factory.figures() {
                    let value = match (family.kind, figure) {
                        (MetricType::Counter, Figure::Counter(n)) => Value::Count(n),
                        (MetricType::Gauge, Figure::Gauge(n)) => Value::Number(n),
                        _ => continue,
                    };
                    samples.add(&[&factory.info().name, &name], value)?;
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// What pipelines measured of the plugins they call.
fn calls(out: &mut Out<'_>, view: &View) -> fmt::Result {
    let pipelines = view.pipelines.now();
    let calls: Vec<_> = pipelines.iter().map(|p| (&p.name, p.meter.calls())).collect();
    let each = || calls.iter().flat_map(|(p, calls)| calls.iter().map(move |c| (*p, &c.0, &c.1)));
    out.all(&names::PLUGIN_CALLS, |samples| {
        each().try_for_each(|(pipeline, plugin, meter)| {
            samples.add(&[pipeline, plugin], Value::Count(meter.seconds.count()))
        })
    })?;
    out.all(&names::PLUGIN_EVENTS, |samples| {
        each().try_for_each(|(pipeline, plugin, meter)| {
            samples.add(&[pipeline, plugin], Value::Count(meter.events()))
        })
    })?;
    out.all(&names::PLUGIN_SECONDS, |samples| {
        each().try_for_each(|(pipeline, plugin, meter)| {
            samples.add(&[pipeline, plugin], Value::spread(&meter.seconds))
        })
    })?;
    out.all(&names::PLUGIN_FAILURES, |samples| {
        for (pipeline, plugin, meter) in each() {
            for reason in Reason::OF_CALLS {
                let count = Value::Count(meter.failures(reason));
                samples.add(&[pipeline, plugin, reason.name()], count)?;
            }
        }
        Ok(())
    })
}

fn reloads(out: &mut Out<'_>, reloads: &ReloadMeter) -> fmt::Result {
    let ReloadMeter { applied, unchanged, refused, .. } = reloads;
    out.all(&names::CONFIG_RELOADS, |samples| {
        let results = [("applied", applied), ("failed", refused), ("unchanged", unchanged)];
        results.into_iter().try_for_each(|(result, count)| {
            samples.add(&[result], Value::Count(count.load(Ordering::Relaxed)))
        })
    })?;
    out.all(&names::RELOADS, |samples| {
        let ReloadMeter { loaded, failed, removed, .. } = reloads;
        for (result, count) in [("loaded", loaded), ("failed", failed), ("removed", removed)] {
            samples.add(&[result], Value::Count(count.load(Ordering::Relaxed)))?;
        }
        Ok(())
    })
}

fn sinks(out: &mut Out<'_>, view: &View) -> fmt::Result {
    let all = view.sinks.now();
    out.all(&names::SINK_SECONDS, |samples| {
        let mut sinks = all.iter();
        sinks.try_for_each(|s| samples.add(&[&s.name], Value::spread(&s.meter.seconds)))
    })?;
    out.all(&names::SINK_RETRIES, |samples| {
        let mut sinks = all.iter();
        sinks.try_for_each(|s| samples.add(&[&s.name], Value::Count(s.meter.retries())))
    })?;
    out.all(&names::SINK_FAILING, |samples| {
        let mut sinks = all.iter();
        let is_failing = |s: &SinkView| Value::Count(s.trouble.now().is_some().into());
        sinks.try_for_each(|s| samples.add(&[&s.name], is_failing(s)))
    })
}

fn disk(out: &mut Out<'_>, view: &View) -> fmt::Result {
    let durable = view.durable.as_ref();
    let kept = durable.map_or([("journal", None), ("store", None)], DurableView::disk_troubles);
    out.all(&names::DISK_FAILING, |samples| {
        let mut all = kept.into_iter().chain(super::health::files(view));
        let value = |trouble: Option<String>| Value::Count(trouble.is_some().into());
        all.try_for_each(|(what, trouble)| samples.add(&[what], value(trouble)))
    })
}

fn durable(out: &mut Out<'_>, view: &View) -> fmt::Result {
    type Get = fn(&DurableView) -> u64;
    let families: [(&Family, Get); 6] = [
        (&names::JOURNAL_BYTES, |durable| durable.journal.bytes()),
        (&names::JOURNAL_LIMIT, |durable| durable.journal_limit),
        (&names::JOURNAL_SEGMENTS, |durable| durable.journal.segments().len() as u64),
        (&names::JOURNAL_FULL, |durable| durable.journal.is_full().into()),
        (&names::STORE_BYTES, |durable| durable.store.bytes()),
        (&names::DEAD_LETTERS_STORED, |durable| durable.store.letter_count()),
    ];
    families.into_iter().try_for_each(|(family, get)| {
        out.one(family, &[], Value::Count(view.durable.as_ref().map_or(0, get)))
    })
}

fn process(out: &mut Out<'_>, process: &Process) -> fmt::Result {
    out.one(&names::CPU, &[], Value::Number(process.cpu_seconds))?;
    out.one(&names::RESIDENT, &[], Value::Count(process.resident_bytes))?;
    out.one(&names::VIRTUAL, &[], Value::Count(process.virtual_bytes))?;
    out.one(&names::THREADS, &[], Value::Count(process.threads))?;
    out.one(&names::OPEN_FDS, &[], Value::Count(process.open_fds))?;
    out.one(&names::MAX_FDS, &[], Value::Count(process.max_fds))?;
    out.one(&names::START, &[], Value::Number(process.start_seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_makes_no_time_negative() {
        let minute = 60_000_000;
        let is = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-9, "{found}");
        is(silence(5 * minute, minute, 7 * minute), 120.0);
        is(silence(0, minute, 7 * minute), 360.0);
        is(silence(5 * minute, minute, 2 * minute), 0.0);
        is(silence(0, minute, 0), 0.0);
    }

    #[test]
    fn the_older_format_names_counters_as_their_samples_do() {
        let text = "# HELP trommel_received Frames.\n# TYPE trommel_received counter\n\
                    trommel_received_total{pipeline=\"a\"} 1\n# TYPE trommel_in_flight gauge\n# EOF\n";
        assert_eq!(
            to_classic(text),
            "# HELP trommel_received_total Frames.\n# TYPE trommel_received_total counter\n\
             trommel_received_total{pipeline=\"a\"} 1\n# TYPE trommel_in_flight gauge\n"
        );
    }
}
