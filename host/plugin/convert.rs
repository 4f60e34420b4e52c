//! Between the host's types and those of the contract, each way once. Pure; columns are borrowed,
//! answers are moved.

use std::time::Duration;

use super::bindings::exports::exports::trommel::plugin as wit;
use super::bindings::exports::trommel::plugin::types;
use crate::columns::{Blobs, Columns, Dictionary, Fields, Lines};
use crate::outcome::{Delivery, Edge, Fault, Findings, Outcomes, Severity, Signal, Verdicts};
use crate::pattern::Pattern;
use crate::runner::Wants;

pub(super) fn batch<'a>(columns: &'a Columns<'a>) -> types::Batch<'a> {
    types::Batch {
        types: dictionary(&columns.types),
        sources: columns.sources.as_ref().map(dictionary),
        times: columns.times.as_deref(),
        ids: columns.ids.as_ref().map(lines),
        subjects: columns.subjects.as_ref().map(lines),
        data: columns.data.as_ref().map(lines),
        attributes: columns.attributes.as_ref().map(lines),
        whole: columns.whole.as_ref().map(lines),
        raw: columns.raw.as_ref().map(blobs),
    }
}

fn dictionary<'a>(from: &'a Dictionary<'a>) -> types::DictionaryParam<'a> {
    types::DictionaryParam { values: &from.values, index: &from.index }
}

fn lines<'a>(from: &'a Lines<'a>) -> types::Lines<'a> {
    types::Lines { text: &from.text, ends: &from.ends }
}

fn blobs(from: &Blobs) -> types::Blobs<'_> {
    types::Blobs { bytes: &from.bytes, ends: &from.ends }
}

pub(super) fn wants(from: wit::lifecycle::Wants) -> Wants {
    let pairs = [
        (types::Fields::SOURCES, Fields::SOURCES),
        (types::Fields::TIMES, Fields::TIMES),
        (types::Fields::IDS, Fields::IDS),
        (types::Fields::SUBJECTS, Fields::SUBJECTS),
        (types::Fields::DATA, Fields::DATA),
        (types::Fields::ATTRIBUTES, Fields::ATTRIBUTES),
        (types::Fields::WHOLE, Fields::WHOLE),
        (types::Fields::RAW, Fields::RAW),
    ];
    let wanted = pairs.into_iter().filter(|(theirs, _)| from.fields.contains(*theirs));
    Wants {
        fields: wanted.fold(Fields::NONE, |all, (_, ours)| all.with(ours)),
        types: from.types.into_iter().map(Pattern::new).collect(),
    }
}

pub(super) fn verdicts(from: wit::filter::Verdicts) -> Verdicts {
    Verdicts { keep: from.keep, faults: faults(from.faults) }
}

pub(super) fn outcomes(from: wit::transform::Outcomes) -> Outcomes {
    Outcomes {
        fates: from.fates,
        data: from.data,
        types: from.types.map(|types| (types.values, types.index)),
        subjects: from.subjects,
        attributes: from.attributes,
        faults: faults(from.faults),
    }
}

pub(super) fn findings(from: wit::alert::Findings) -> Findings {
    Findings {
        signals: from.signals.into_iter().map(signal).collect(),
        faults: faults(from.faults),
    }
}

pub(super) fn signal(from: wit::alert::Signal) -> Signal {
    Signal {
        key: from.key,
        edge: match from.edge {
            wit::alert::Edge::Raise => Edge::Raise,
            wit::alert::Edge::Clear => Edge::Clear,
        },
        severity: match from.severity {
            wit::alert::Severity::Info => Severity::Info,
            wit::alert::Severity::Warning => Severity::Warning,
            wit::alert::Severity::Critical => Severity::Critical,
        },
        labels: from.labels,
        summary: from.summary,
        details: from.details,
    }
}

pub(super) fn delivery(from: Result<(), wit::exporter::Undelivered>) -> Delivery {
    match from {
        Ok(()) => Delivery::Taken,
        Err(wit::exporter::Undelivered::Retry(millis)) => {
            Delivery::Retry(Duration::from_millis(millis.into()))
        }
        Err(wit::exporter::Undelivered::Reject(rejected)) => Delivery::Rejected(faults(rejected)),
    }
}

fn faults(from: Vec<types::Fault>) -> Vec<Fault> {
    from.into_iter().map(|fault| Fault { index: fault.index, reason: fault.reason }).collect()
}
