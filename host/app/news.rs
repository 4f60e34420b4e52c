//! What the host tells of itself: to files, to the log, and to pipelines that take from `trommel`. Key
//! type: [`News`].

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::alert::Told as ToldAlert;
use crate::config::BUILT_IN_SOURCE;
use crate::dead_letter::{Appender, DeadLetter, DeadLetters};
use crate::frame::Frame;
use crate::gap::{Gap, Phase};
use crate::meter::ReloadMeter;
use crate::pipeline::Input;
use crate::plugin::Change;
use crate::runner::Reason;
use crate::source::BuiltIn;
use crate::timestamp::{Timestamp, format_time, now_micros};

/// What came of reading the configuration again.
pub(super) enum Told {
    /// These changes took effect.
    Applied(Vec<String>),
    /// There were none.
    Unchanged,
    /// It is wrong, or cannot be had; all goes on as before.
    Failed(String),
}

/// Who tells.
pub(super) struct News {
    pub source: Mutex<Option<BuiltIn>>,
    pub alerts: Arc<Appender>,
    pub dead_letters: Arc<DeadLetters>,
    pub reloads: Arc<ReloadMeter>,
    pub runtime: Handle,
    /// Cancelled once the pipelines that take from `trommel` are there.
    pub opened: CancellationToken,
    pub stop: CancellationToken,
}

impl News {
    fn source(&self) -> Option<BuiltIn> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets go of the pipelines that take from `trommel`, so that they can end.
    pub fn close(&self) {
        self.source.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Hands what is told from now on to these pipelines.
    pub fn tell_to(&self, pipelines: Vec<Input>) {
        if let Some(source) = self.source() {
            source.outputs().set(pipelines);
        }
    }

    /// Waits until the pipelines that take from `trommel` are there; false when the host ends before.
    fn is_opened(&self) -> bool {
        let opened = self.stop.run_until_cancelled(self.opened.cancelled());
        self.runtime.block_on(opened).is_some()
    }

    /// Called on the thread that tells of a pipeline's alerts, without a journal on the pipeline's own. It
    /// waits while there is no room: none of them takes from `trommel`, so none waits for itself. False when
    /// the host ends, and they are not told to all.
    pub fn tell_alerts(&self, pipeline: &str, alerts: &[ToldAlert]) -> bool {
        if !self.is_opened() {
            return false;
        }
        let Some(source) = self.source() else { return false };
        let frames: Vec<_> = alerts
            .iter()
            .map(|told| {
                let alert = &told.alert;
                // One that is told again after a crash has the id that it had.
                let id = (told.number > 0).then(|| format!("{pipeline}-{}", told.number));
                source.event(id, "trommel.alert", &alert.subject, &alert.data)
            })
            .collect();
        let lines: String = frames.iter().map(|frame| source.line(frame)).collect();
        for ToldAlert { alert, .. } in alerts {
            let said = |name: &str| alert.data[name].as_str().unwrap_or_default().to_owned();
            let (edge, severity) = (said("edge"), said("severity"));
            tracing::warn!(key = alert.subject, severity, "alert {edge}: {}", said("summary"));
        }
        while self.alerts.append(lines.as_bytes()).is_err() {
            // A timer is to be made where the runtime is.
            let wait = async { tokio::time::sleep(Duration::from_secs(1)).await };
            if self.runtime.block_on(self.stop.run_until_cancelled(wait)).is_none() {
                return false;
            }
        }
        let sent = self.runtime.block_on(self.stop.run_until_cancelled(source.send(frames)));
        sent == Some(true)
    }

    /// Called on the thread that loads plugins, which must never wait for a pipeline: that pipeline
    /// may be waiting for a plugin.
    pub fn tell_change(&self, change: Change) {
        let count = match &change {
            Change::Loaded(_) => &self.reloads.loaded,
            Change::Failed { .. } => &self.reloads.failed,
            Change::Removed(_) => &self.reloads.removed,
        };
        count.fetch_add(1, Ordering::Relaxed);
        let (subject, data) = match change {
            Change::Loaded(info) => {
                let (plugin, version, role) = (&info.name, &info.version, info.role.name());
                tracing::info!(plugin, version, role, "plugin loaded");
                let data = serde_json::json!({
                    "action": "loaded",
                    "plugin": info.name,
                    "version": info.version,
                    "role": role,
                    "sha256": info.sha256,
                });
                (info.name.clone(), data)
            }
            Change::Failed { name, error, is_served } => {
                let still = if is_served { "; the version before goes on serving" } else { "" };
                tracing::error!(plugin = name, "plugin {error}{still}");
                let data = serde_json::json!({
                    "action": "failed", "plugin": name, "error": error, "served": is_served,
                });
                (name, data)
            }
            Change::Removed(name) => {
                tracing::warn!(plugin = name, "plugin removed");
                let data = serde_json::json!({ "action": "removed", "plugin": name });
                (name, data)
            }
        };
        self.tell_reload(&subject, &data);
    }

    /// Tells of a configuration that was read again. Never waits.
    pub fn tell_config(&self, told: &Told) {
        let (count, data) = match told {
            Told::Applied(changes) => {
                let data = serde_json::json!({ "action": "config", "changes": changes });
                (&self.reloads.applied, Some(data))
            }
            Told::Unchanged => (&self.reloads.unchanged, None),
            Told::Failed(error) => {
                let data = serde_json::json!({ "action": "config-failed", "error": error });
                (&self.reloads.refused, Some(data))
            }
        };
        count.fetch_add(1, Ordering::Relaxed);
        if let Some(data) = data {
            self.tell_reload("config", &data);
        }
    }

    /// Called on the ledger's thread, which never waits for a pipeline. What is found while the host
    /// starts waits until there is somebody to tell it to.
    pub fn tell_gap(&self, gap: &Gap, phase: Phase) {
        let now = now_micros();
        let seconds = gap.to.unwrap_or(now).saturating_sub(gap.from) as f64 / 1e6;
        let Gap { source, stream, reason, detail, last_id, first_id, .. } = gap;
        match (phase, gap.replayed) {
            (Phase::Long, _) => {
                tracing::warn!(source, stream, reason, seconds, "a gap lasts: {detail}");
            }
            (Phase::Over, Some(false)) => tracing::warn!(
                source,
                stream,
                reason,
                seconds,
                last_id,
                first_id,
                "a gap is over: {detail}"
            ),
            (Phase::Over, replayed) => {
                let was = if replayed.is_some() { "was" } else { "may have been" };
                tracing::info!(
                    source,
                    stream,
                    reason,
                    seconds,
                    last_id,
                    first_id,
                    "away, and what was sent meanwhile {was} sent again: {detail}"
                );
            }
        }
        if !self.is_opened() {
            return;
        }
        let Some(built_in) = self.source() else { return };
        let micros = |micros: u64| format_time(Timestamp::from_micros(micros));
        let data = serde_json::json!({
            "source": source,
            "stream": stream,
            "reason": reason,
            "detail": detail,
            "from": micros(gap.from),
            "to": gap.to.map(micros),
            "seconds": seconds,
            "last_id": last_id,
            "first_id": first_id,
            "replayed": gap.replayed,
            "records": gap.records,
        });
        // One that lasts is told again after a crash, by the id that it had.
        let long = if phase == Phase::Long { "-lasts" } else { "" };
        let id = (gap.number > 0).then(|| format!("gap-{}{long}", gap.number));
        let subject = format!("{source}/{stream}");
        self.tell_or_note(&built_in.event(id, "trommel.gap", &subject, &data));
    }

    fn tell_reload(&self, subject: &str, data: &serde_json::Value) {
        let Some(source) = self.source() else { return };
        self.tell_or_note(&source.event(None, "trommel.reload", subject, data));
    }

    /// Hands an event on; where there is no room it is a dead letter.
    fn tell_or_note(&self, frame: &Frame) {
        let Some(source) = self.source() else { return };
        let without_room = source.try_send(frame);
        if without_room > 0 {
            self.no_room(&source, frame, without_room);
        }
    }

    fn no_room(&self, source: &BuiltIn, frame: &Frame, pipelines: usize) {
        let detail = format!("{pipelines} pipelines had no room for an event of trommel's own");
        let letter = DeadLetter {
            event: Some(source.line(frame).trim_end().to_owned()),
            ..DeadLetter::new(BUILT_IN_SOURCE, Reason::Limit, detail)
        };
        if let Err(error) = self.dead_letters.write(&[letter]) {
            tracing::error!(%error, "a dead letter cannot be written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Registry;
    use crate::pipeline::{Outputs, channel};
    use crate::tally::Tally;

    fn news(dir: &tempfile::TempDir, runtime: &tokio::runtime::Runtime) -> Arc<News> {
        let path = |name: &str| dir.path().join(name);
        Arc::new(News {
            source: Mutex::new(Some(BuiltIn::new(Outputs::default(), Registry::built_in().into()))),
            alerts: Arc::new(Appender::open(&path("alerts.jsonl")).unwrap()),
            dead_letters: Arc::new(DeadLetters::open(&path("dead-letters.jsonl")).unwrap()),
            reloads: Arc::default(),
            runtime: runtime.handle().clone(),
            opened: CancellationToken::new(),
            stop: CancellationToken::new(),
        })
    }

    fn tell(news: &Arc<News>) -> std::thread::JoinHandle<()> {
        let news = Arc::clone(news);
        let gap = Gap { source: "hq".into(), from: 1, to: Some(2), ..Gap::default() };
        std::thread::spawn(move || news.tell_gap(&gap, Phase::Over))
    }

    #[test]
    fn a_gap_that_is_found_before_pipelines_are_there_is_told_to_them() {
        let (dir, runtime) =
            (tempfile::tempdir().unwrap(), tokio::runtime::Runtime::new().unwrap());
        let news = news(&dir, &runtime);
        let told = tell(&news);
        // Were it not to wait, it would have ended by then.
        for _ in 0..10_000 {
            std::thread::yield_now();
        }
        assert!(!told.is_finished());
        let tally = Arc::new(Tally::default());
        let (input, _intake) = channel(Arc::clone(&tally));
        news.tell_to(vec![input]);
        news.opened.cancel();
        told.join().unwrap();
        assert_eq!(tally.counts().received, 1);
    }

    #[test]
    fn a_host_that_does_not_come_to_start_waits_for_nobody() {
        let (dir, runtime) =
            (tempfile::tempdir().unwrap(), tokio::runtime::Runtime::new().unwrap());
        let news = news(&dir, &runtime);
        let told = tell(&news);
        news.stop.cancel();
        told.join().unwrap();
    }
}
