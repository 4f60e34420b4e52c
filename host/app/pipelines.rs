//! The pipelines and sinks that run, and how they become those of another configuration. What may
//! fail comes first ([`Pipelines::prepare`]), so that a change takes effect as a whole or not at all.
//! Key type: [`Pipelines`].

use std::collections::BTreeMap;
use std::sync::Arc;

use super::durable::Durable;
use super::{StartError, environment};
use crate::config::{BUILT_IN_SOURCE, Config, PipelineConfig, SinkConfig};
use crate::pipeline::{Close, Input, Pending, Pipeline, Predecessor, Shared, Wiring};
use crate::sink::{self, SharedSink};
use crate::store::Store;
use crate::tally::Counts;
use crate::telemetry::{PipelineView, SinkView};

/// All pipelines and sinks.
pub(super) struct Pipelines {
    shared: Shared,
    running: BTreeMap<String, Running>,
    sinks: Sinks,
    /// Those that the configuration has no more, until what they have is settled.
    leaving: Vec<Pipeline>,
    /// The ways into those that end last.
    open: Vec<Close>,
    /// What became of the events of those that have ended since.
    gone: Counts,
}

type Sinks = BTreeMap<String, (SinkConfig, SharedSink)>;

struct Running {
    config: PipelineConfig,
    pipeline: Pipeline,
    close: Close,
}

/// What is ready to take effect.
pub(super) struct Plan {
    sinks: Sinks,
    added: Vec<Running>,
    kept: Vec<PipelineConfig>,
}

impl Pipelines {
    pub fn new(shared: Shared) -> Self {
        Pipelines {
            shared,
            running: BTreeMap::new(),
            sinks: BTreeMap::new(),
            leaving: Vec::new(),
            open: Vec::new(),
            gone: Counts::default(),
        }
    }

    /// Opens what is new. Nothing that runs is touched.
    ///
    /// # Errors
    /// What cannot be had.
    pub fn prepare(
        &self,
        config: &Config,
        durable: &mut Option<Durable>,
    ) -> Result<Plan, StartError> {
        let mut sinks = Sinks::new();
        let store = durable.as_ref().map(|durable| Arc::clone(&durable.store));
        for sink in &config.sinks {
            let opened = self.sink(sink, store.as_ref())?;
            sinks.insert(sink.name.clone(), (sink.clone(), opened));
        }
        let mut plan = Plan { sinks, added: Vec::new(), kept: Vec::new() };
        for pipeline in &config.pipelines {
            if self.keeps(pipeline) {
                plan.kept.push(pipeline.clone());
            } else {
                plan.added.push(self.begin(pipeline, &plan.sinks, config, durable)?);
            }
        }
        Ok(plan)
    }

    /// A sink that is open stays open; one whose place is open follows in it.
    fn sink(
        &self,
        config: &SinkConfig,
        store: Option<&Arc<Store>>,
    ) -> Result<SharedSink, StartError> {
        if let Some((before, sink)) = self.sinks.get(&config.name)
            && before == config
        {
            return Ok(sink.clone());
        }
        let is_same_place =
            |before: &&(SinkConfig, SharedSink)| before.0.kind.is_same_place(&config.kind);
        let same_name = self.sinks.get(&config.name).filter(is_same_place);
        match same_name.or_else(|| self.sinks.values().find(is_same_place)) {
            Some((_, before)) => Ok(sink::succeed(before, config)),
            None => sink::open(config, store).map_err(StartError::Unusable),
        }
    }

    /// Whether a pipeline goes on as the one of its name. One that begins or ceases to take from
    /// `trommel` does not: it ends at another time than before, and runs other plugins.
    fn keeps(&self, config: &PipelineConfig) -> bool {
        let running = self.running.get(&config.name);
        running.is_some_and(|running| running.pipeline.is_built_in == is_built_in(config))
    }

    fn begin(
        &self,
        config: &PipelineConfig,
        sinks: &Sinks,
        all: &Config,
        durable: &mut Option<Durable>,
    ) -> Result<Running, StartError> {
        let to = sinks_of(config, sinks);
        let (pending, close) = match durable {
            Some(durable) => {
                let kept = durable.kept(config)?;
                Pending::from_journal(config.clone(), to, &durable.journal, kept)
                    .map_err(environment("cannot read the journal".to_owned(), ""))?
            }
            None => Pending::new(config.clone(), to),
        };
        let no_thread = environment("cannot start a thread".to_owned(), "");
        let pending = pending.after(self.predecessors(config, all));
        let pipeline = pending.start(self.shared.clone()).map_err(no_thread)?;
        Ok(Running { config: config.clone(), pipeline, close })
    }

    /// Those that drain, now or soon, and have events that must come before the first of a new
    /// pipeline: of the same name, or with a source and a sink in common. Pipelines that take from
    /// `trommel` do not wait: others wait for them, when they have alerts to tell.
    fn predecessors(&self, config: &PipelineConfig, all: &Config) -> Vec<Predecessor> {
        if is_built_in(config) {
            return Vec::new();
        }
        let leaving = self.leaving.iter().filter(|old| old.name == config.name);
        let stays = |name: &str| {
            let config = all.pipelines.iter().find(|pipeline| pipeline.name == name);
            config.is_some_and(|config| self.keeps(config))
        };
        let about_to_leave = self.running.values().filter(|old| {
            let shares =
                |ours: &[String], theirs: &[String]| ours.iter().any(|name| theirs.contains(name));
            let follows =
                shares(&config.from, &old.config.from) && shares(&config.to, &old.config.to);
            !stays(&old.config.name) && (follows || old.config.name == config.name)
        });
        let about_to_leave = about_to_leave.map(|old| &old.pipeline);
        leaving.chain(about_to_leave).map(Predecessor::from).collect()
    }

    /// Has a plan take effect. Those that are left get no more frames once the sources have been given
    /// what [`Pipelines::inputs_for`] says then.
    pub fn commit(&mut self, plan: Plan, durable: Option<&Durable>) {
        let mut left = Vec::new();
        match durable {
            // All changes what they take at the same record: none is taken twice, or by nobody.
            Some(durable) => durable.journal.cut(|at| left = self.commit_at(at, plan)),
            None => left = self.commit_at(0, plan),
        }
        drop(left);
    }

    /// Gives back the ways into those that are left.
    fn commit_at(&mut self, at: u64, plan: Plan) -> Vec<Close> {
        let Plan { sinks, added, kept } = plan;
        let mut left = Vec::new();
        let mut before = std::mem::take(&mut self.running);
        for config in kept {
            let Some(mut running) = before.remove(&config.name) else { continue };
            let sinks = sinks_of(&config, &sinks);
            let now = running.pipeline.wiring();
            let is_same = now.through == config.through
                && now.sinks.len() == sinks.len()
                && now.sinks.iter().zip(&sinks).all(|(now, next)| now.is(next));
            if !is_same {
                running.pipeline.rewire(Wiring { through: config.through.clone(), sinks });
            }
            running.close.take_from(at, &config.from);
            running.config = config;
            self.running.insert(running.config.name.clone(), running);
        }
        for old in before.into_values() {
            old.close.end_at(at);
            left.push(old.close);
            self.leaving.push(old.pipeline);
        }
        for new in added {
            new.close.take_from(at, &new.config.from);
            self.running.insert(new.config.name.clone(), new);
        }
        for old in &self.leaving {
            follow(old, &self.sinks, &sinks);
        }
        self.sinks = sinks;
        left
    }

    /// The ways into those that take from a source.
    pub fn inputs_for(&self, source: &str) -> Vec<Input> {
        let takes = |running: &&Running| running.config.from.iter().any(|from| from == source);
        let mut inputs = self.running.values().filter(takes).map(|running| running.close.input());
        match inputs.next() {
            // All read the same journal.
            Some(input @ Input::Journal(_)) => vec![input],
            first => first.into_iter().chain(inputs).collect(),
        }
    }

    /// What is shown of them: one that drains too, unless its name is another's by now.
    pub fn views(&self) -> Vec<PipelineView> {
        let leaving = self.leaving.iter().enumerate().filter(|(place, old)| {
            let is_last = !self.leaving[place + 1..].iter().any(|other| other.name == old.name);
            is_last && !self.running.contains_key(&old.name)
        });
        let leaving =
            leaving.map(|(_, old)| PipelineView { is_leaving: true, ..PipelineView::from(old) });
        let running = self.running.values().map(|running| PipelineView::from(&running.pipeline));
        running.chain(leaving).collect()
    }

    /// What is shown of the sinks.
    pub fn sink_views(&self) -> Vec<SinkView> {
        self.sinks.values().map(|(_, sink)| SinkView::from(sink)).collect()
    }

    /// Takes away those that have drained; says whether there were any.
    ///
    /// # Errors
    /// The one that has died, or ended by itself.
    pub fn look_after(&mut self) -> Result<bool, String> {
        let mut running = self.running.values();
        if let Some(dead) = running.find(|running| running.pipeline.is_finished()) {
            return Err(format!("pipeline {:?} ended by itself", dead.config.name));
        }
        let (ended, leaving): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.leaving).into_iter().partition(Pipeline::is_finished);
        self.leaving = leaving;
        let has_ended = !ended.is_empty();
        for pipeline in ended {
            self.gone = self.gone + pipeline.tally.counts();
            let name = pipeline.name.clone();
            if !pipeline.join() {
                return Err(format!("pipeline {name:?} died while it drained"));
            }
            tracing::info!(pipeline = name, "has drained and ended");
        }
        Ok(has_ended)
    }

    /// Lets go of the ways in, so that pipelines end once the sources have let go too. Those that take
    /// from `trommel` go on until [`Pipelines::close_built_in`]: the others have alerts to tell.
    pub fn close(&mut self) {
        for running in std::mem::take(&mut self.running).into_values() {
            if running.pipeline.is_built_in {
                self.open.push(running.close);
            }
            self.leaving.push(running.pipeline);
        }
    }

    /// Has those end too that take from `trommel`.
    pub fn close_built_in(&mut self) {
        self.open.clear();
    }

    /// Those that are closed: with those that take from `trommel`, or without.
    pub fn closed(&self, is_built_in: bool) -> Vec<&Pipeline> {
        self.leaving.iter().filter(|pipeline| pipeline.is_built_in == is_built_in).collect()
    }

    /// What became of all events, of those that have ended too, and the pipelines that are closed.
    pub fn into_rest(self) -> (Counts, Vec<Pipeline>) {
        let left: Counts = self.leaving.iter().map(|pipeline| pipeline.tally.counts()).sum();
        (self.gone + left, self.leaving)
    }
}

fn is_built_in(config: &PipelineConfig) -> bool {
    config.from.iter().any(|source| source == BUILT_IN_SOURCE)
}

fn sinks_of(config: &PipelineConfig, sinks: &Sinks) -> Vec<SharedSink> {
    let found = config.to.iter().filter_map(|name| sinks.get(name));
    found.map(|(_, sink)| sink.clone()).collect()
}

/// What drains goes on in what took the place of its sinks: no place is ever written to by two.
fn follow(pipeline: &Pipeline, before: &Sinks, now: &Sinks) {
    let wiring = pipeline.wiring();
    let next = |old: &SharedSink| {
        let is_known = before.values().any(|(_, sink)| sink.is(old));
        let successor = now.values().find(|(_, sink)| is_known && sink.is_same_place(old));
        successor.map_or_else(|| old.clone(), |(_, sink)| sink.clone())
    };
    let sinks: Vec<SharedSink> = wiring.sinks.iter().map(next).collect();
    if sinks.iter().zip(&wiring.sinks).any(|(next, old)| !next.is(old)) {
        pipeline.rewire(Wiring { through: wiring.through.clone(), sinks });
    }
}
