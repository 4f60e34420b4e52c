//! The pipelines and sinks that run, and how they become those of another configuration. What may
//! fail comes first ([`Pipelines::prepare`]), so that a change takes effect as a whole or not at all.
//! Key type: [`Pipelines`].

use std::collections::BTreeMap;
use std::sync::Arc;

use super::durable::Durable;
use super::{StartError, environment};
use crate::config::{BUILT_IN_SOURCE, Config, PipelineConfig, SinkConfig};
use crate::pipeline::{Close, Input, Pending, Pipeline, Predecessor, Redriver, Shared, Wiring};
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
    leaving: Vec<Leaving>,
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

/// A pipeline that gets no more frames.
struct Leaving {
    config: PipelineConfig,
    pipeline: Pipeline,
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
        let store = durable.as_ref().map(|durable| Arc::clone(&durable.store));
        let sinks = self.sinks(&config.sinks, store.as_ref())?;
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

    /// A sink that did not change stays as it is; one that writes where another did follows in its
    /// place, each place having one heir. All others are opened.
    fn sinks(
        &self,
        configs: &[SinkConfig],
        store: Option<&Arc<Store>>,
    ) -> Result<Sinks, StartError> {
        let mut places = self.places();
        let mut sinks = Sinks::new();
        let mut others = Vec::new();
        for config in configs {
            let before = self.sinks.get(&config.name);
            let before = before.filter(|(before, _)| before.kind.is_same_place(&config.kind));
            let Some((before, sink)) = before else {
                others.push(config);
                continue;
            };
            places.retain(|place| !place.is_same_place(sink));
            let is_same = before == config;
            let sink = if is_same { sink.clone() } else { sink::succeed(sink, config) };
            sinks.insert(config.name.clone(), (config.clone(), sink));
        }
        for config in others {
            let sink = match places.iter().position(|place| place.is_for(&config.kind)) {
                Some(at) => sink::succeed(&places.swap_remove(at), config),
                None => sink::open(config, store).map_err(StartError::Unusable)?,
            };
            sinks.insert(config.name.clone(), (config.clone(), sink));
        }
        Ok(sinks)
    }

    /// A sink of each place that is written to: those of the configuration, and those that it has no
    /// more and something still drains into.
    fn places(&self) -> Vec<SharedSink> {
        let mut places: Vec<SharedSink> = self.sinks.values().map(|(_, s)| s.clone()).collect();
        for left in self.leaving.iter().flat_map(|old| old.pipeline.wiring().sinks.clone()) {
            if !places.iter().any(|place| place.is_same_place(&left)) {
                places.push(left);
            }
        }
        places
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
        let sinks = sinks_of(config, sinks);
        let predecessors = self.predecessors(config, &sinks, all);
        let (pending, close) = match durable {
            Some(durable) => {
                let kept = durable.kept(config, self.has(&config.name))?;
                Pending::from_journal(config.clone(), sinks, &durable.journal, kept)
            }
            None => Pending::new(config.clone(), sinks),
        };
        let no_thread = environment("cannot start a thread".to_owned(), "");
        let pending = pending.after(predecessors);
        let pipeline = pending.start(self.shared.clone()).map_err(no_thread)?;
        Ok(Running { config: config.clone(), pipeline, close })
    }

    /// Those that drain, now or soon, and have events that must come before the first of a new
    /// pipeline: of the same name, or with a source and a sink in common. Pipelines that take from
    /// `trommel` do not wait: others wait for them, when they have alerts to tell. With a journal nobody
    /// waits for them, and they do wait for one of their name.
    fn predecessors(
        &self,
        config: &PipelineConfig,
        sinks: &[SharedSink],
        all: &Config,
    ) -> Vec<Predecessor> {
        let stays = |name: &str| {
            let config = all.pipelines.iter().find(|pipeline| pipeline.name == name);
            config.is_some_and(|config| self.keeps(config))
        };
        let about_to_leave = self.running.values().filter(|old| !stays(&old.config.name));
        let about_to_leave = about_to_leave.map(|old| (&old.config, &old.pipeline));
        let leaving = self.leaving.iter().map(|old| (&old.config, &old.pipeline));
        let comes_before = |(old, pipeline): &(&PipelineConfig, &Pipeline)| {
            let shares_source = old.from.iter().any(|source| config.from.contains(source));
            let is_ours = |sink: &SharedSink| sinks.iter().any(|ours| ours.is_same_place(sink));
            let shares_sink = || pipeline.wiring().sinks.iter().any(is_ours);
            let is_namesake = old.name == config.name;
            if is_built_in(config) {
                return is_namesake && pipeline.is_kept;
            }
            is_namesake || (shares_source && shares_sink())
        };
        let before = leaving.chain(about_to_leave).filter(comes_before);
        let predecessor = |(old, pipeline): (&PipelineConfig, &Pipeline)| {
            Predecessor::new(pipeline, old.name == config.name)
        };
        before.map(predecessor).collect()
    }

    /// Whether there is a pipeline of this name, be it one that drains.
    pub fn has(&self, name: &str) -> bool {
        self.running.contains_key(name) || self.leaving.iter().any(|old| old.config.name == name)
    }

    /// Has a plan take effect. Those that are left get no more frames once the sources have been given
    /// what [`Pipelines::inputs_for`] says then.
    pub fn commit(&mut self, plan: Plan, durable: Option<&Durable>) {
        let mut left = None;
        match durable {
            // All changes what they take at the same record: none is taken twice, or by nobody.
            Some(durable) => durable.journal.cut(|at| left = Some(self.commit_at(at, plan))),
            None => left = Some(self.commit_at(0, plan)),
        }
        // Taken apart when the journal goes on: that may take its time, and cuts it again.
        drop(left);
    }

    /// Gives back what is left: the ways into pipelines, and sinks.
    fn commit_at(&mut self, at: u64, plan: Plan) -> (Vec<Close>, Sinks) {
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
            let Running { config, pipeline, close } = old;
            left.push(close);
            self.leaving.push(Leaving { config, pipeline });
        }
        for mut new in added {
            new.close.take_from(at, &new.config.from);
            new.pipeline.go();
            self.running.insert(new.config.name.clone(), new);
        }
        for old in &self.leaving {
            follow(&old.pipeline, &sinks);
        }
        for (_, sink) in sinks.values() {
            self.open_soon(sink);
        }
        (left, std::mem::replace(&mut self.sinks, sinks))
    }

    /// Has a sink take over the settings of its place, though no event may come for long.
    fn open_soon(&self, sink: &SharedSink) {
        let is_known = self.sinks.values().any(|(_, before)| before.is(sink));
        if is_known || sink.is_first() {
            return;
        }
        let sink = sink.clone();
        // Whoever writes there is done first. It may take its time, and has somewhere to block.
        self.shared.runtime.spawn_blocking(move || {
            if let Err(error) = sink.open_in_place() {
                let sink = &*sink.name;
                tracing::error!(sink, %error, "cannot be opened; tried again with the next batch");
            }
        });
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
        let leaving = self.leaving.iter().map(|old| &old.pipeline).enumerate();
        let leaving = leaving.filter(|(place, old)| {
            let mut later = self.leaving[place + 1..].iter();
            let is_last = later.all(|other| other.pipeline.name != old.name);
            is_last && !self.running.contains_key(&old.name)
        });
        let leaving =
            leaving.map(|(_, old)| PipelineView { is_leaving: true, ..PipelineView::from(old) });
        let running = self.running.values().map(|running| PipelineView::from(&running.pipeline));
        running.chain(leaving).collect()
    }

    /// The ways to have pipelines take dead letters again: not those that are about to end.
    pub fn redrivers(&self) -> Vec<Redriver> {
        self.running.values().map(|running| running.pipeline.redriver.clone()).collect()
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
            std::mem::take(&mut self.leaving).into_iter().partition(|o| o.pipeline.is_finished());
        self.leaving = leaving;
        let has_ended = !ended.is_empty();
        for Leaving { pipeline, .. } in ended {
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
        for Running { config, pipeline, close } in std::mem::take(&mut self.running).into_values() {
            if pipeline.is_built_in {
                self.open.push(close);
            }
            self.leaving.push(Leaving { config, pipeline });
        }
    }

    /// Has those end too that take from `trommel`.
    pub fn close_built_in(&mut self) {
        self.open.clear();
    }

    /// Those that are closed: with those that take from `trommel`, or without.
    pub fn closed(&self, is_built_in: bool) -> Vec<&Pipeline> {
        let leaving = self.leaving.iter().map(|old| &old.pipeline);
        leaving.filter(|pipeline| pipeline.is_built_in == is_built_in).collect()
    }

    /// What became of all events, of those that have ended too, and the pipelines that are closed.
    pub fn into_rest(self) -> (Counts, Vec<Pipeline>) {
        let left: Vec<_> = self.leaving.into_iter().map(|old| old.pipeline).collect();
        let counts: Counts = left.iter().map(|pipeline| pipeline.tally.counts()).sum();
        (self.gone + counts, left)
    }
}

fn is_built_in(config: &PipelineConfig) -> bool {
    config.from.iter().any(|source| source == BUILT_IN_SOURCE)
}

fn sinks_of(config: &PipelineConfig, sinks: &Sinks) -> Vec<SharedSink> {
    let found = config.to.iter().filter_map(|name| sinks.get(name));
    found.map(|(_, sink)| sink.clone()).collect()
}

/// What drains goes on in what took the place of its sinks: no place is ever written to by two. Where
/// nothing did, it does not wait for a sink that fails.
fn follow(pipeline: &Pipeline, now: &Sinks) {
    let wiring = pipeline.wiring();
    let next = |old: &SharedSink| {
        let successor = now.values().find(|(_, sink)| sink.is_same_place(old));
        if successor.is_none() {
            old.retired.cancel();
        }
        successor.map_or_else(|| old.clone(), |(_, sink)| sink.clone())
    };
    let sinks: Vec<SharedSink> = wiring.sinks.iter().map(next).collect();
    if sinks.iter().zip(&wiring.sinks).any(|(next, old)| !next.is(old)) {
        pipeline.rewire(Wiring { through: wiring.through.clone(), sinks });
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::runtime::Handle;
    use tokio::sync::watch;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::alert::Board;
    use crate::config::{Begin, JournalConfig, SinkKind};
    use crate::dead_letter::DeadLetters;
    use crate::decode::{Decoder, Registry};
    use crate::runner::Plugins;
    use crate::state::Change;
    use crate::store::{Commit, Record};

    const NAME: &str = "with-an-heir";

    fn config(source: &str) -> Config {
        let pipeline = PipelineConfig {
            name: NAME.to_owned(),
            from: vec![source.to_owned()],
            through: Some(Vec::new()),
            to: vec!["nowhere".to_owned()],
            begin: Begin::Now,
        };
        let nowhere =
            SinkConfig { name: "nowhere".to_owned(), types: Vec::new(), kind: SinkKind::Null };
        Config {
            file: "trommel.toml".into(),
            data_dir: "data".into(),
            plugin_dir: "plugins".into(),
            listen: ([127, 0, 0, 1], 0).into(),
            journal: Some(JournalConfig::default()),
            sources: Vec::new(),
            pipelines: vec![pipeline],
            sinks: vec![nowhere],
        }
    }

    /// Waits until something is so.
    async fn until(mut is_so: impl FnMut() -> bool) {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    }

    /// Whether a thread of the pipeline is there.
    fn has_thread() -> bool {
        let name = format!("p:{NAME}");
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let names =
            tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.into_iter().any(|thread| thread.trim_end() == &name[..name.len().min(15)])
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_heir_of_a_plan_that_came_to_nothing_touches_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut durable = Some(Durable::open(dir.path(), &JournalConfig::default()).unwrap());
        let (_plugins, plugins) = watch::channel(Arc::new(Plugins::default()));
        let mut pipelines = Pipelines::new(Shared {
            decoder: Decoder::new(Arc::new(Registry::built_in())),
            plugins,
            dead_letters: Arc::new(DeadLetters::open(Path::new("/dev/null")).unwrap()),
            board: Arc::new(Board::default()),
            announce: Arc::new(|_, _| true),
            on_fatal: Arc::new(|_| {}),
            runtime: Handle::current(),
            leave: CancellationToken::new(),
            stop: CancellationToken::new(),
        });
        let plan = pipelines.prepare(&config("hq"), &mut durable).unwrap();
        pipelines.commit(plan, durable.as_ref());
        let store = Arc::clone(&durable.as_ref().unwrap().store);
        let number = store.number(NAME) + 1;
        let remembered = Change {
            key: "key".to_owned(),
            value: Some("value".to_owned()),
            set: crate::timestamp::now_micros(),
        };
        let states = vec![("10-plugin".to_owned(), vec![remembered])];
        let (pipeline, cursor) = (NAME.to_owned(), store.cursors()[NAME]);
        let commit = Commit { pipeline, number, cursor, states, ..Commit::default() };
        store.write(Record::Commit(commit), &|| false).unwrap();

        drop(pipelines.prepare(&config(BUILT_IN_SOURCE), &mut durable).unwrap());
        pipelines.close();
        until(|| pipelines.closed(false).iter().all(|pipeline| pipeline.is_finished())).await;
        until(|| !has_thread()).await;
        drop((pipelines, store));
        durable.take().unwrap().close(std::time::Duration::from_secs(60));
        let (_, loaded) = Store::open(&dir.path().join("store")).unwrap();
        let saved = &loaded.pipelines[NAME];
        assert_eq!((saved.number, saved.states.len()), (number, 1), "{saved:?}");
    }
}
