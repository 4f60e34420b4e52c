//! Who writes, and when: the log's own thread, or one that waits for its records. Key function:
//! [`run`].

use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use super::format::MarkKind;
use super::state::{Shared, Stage, State};
use super::writer::{Outcome, Writer};

/// How often those who wait ask whether they should go on.
pub(super) const LOOK: Duration = Duration::from_millis(100);

/// The writer while it is taken; it is given back at the end.
struct Turn<'a> {
    shared: &'a Shared,
    writer: Option<Box<Writer>>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        let has_records = self.writer.as_ref().is_some_and(|writer| writer.has_records());
        state.writer = self.writer.take();
        if has_records || state.buffered() > 0 || state.is_asleep {
            self.shared.work.notify_one();
        }
        if state.waiting > 0 || !state.queue.is_empty() {
            self.shared.done.notify_all();
        }
    }
}

/// What the log's own thread does next.
enum Task {
    Commit,
    Mark(MarkKind),
}

/// Writes until the log is closed.
pub(super) fn run(shared: &Shared) {
    let mut wait = shared.options.retry_least;
    while let Some((task, mut turn)) = next_task(shared) {
        let Some(writer) = &mut turn.writer else { return };
        let outcome = match task {
            Task::Commit => writer.commit(shared),
            Task::Mark(kind) => writer.mark(shared, kind),
        };
        drop(turn);
        match outcome {
            Outcome::Done | Outcome::Nothing if matches!(task, Task::Mark(MarkKind::Close)) => {
                return;
            }
            Outcome::Done | Outcome::Nothing => wait = shared.options.retry_least,
            Outcome::NoSegment => wait_for_segment(shared),
            Outcome::Failed => {
                rest(shared, Instant::now() + wait);
                wait = (wait * 2).min(shared.options.retry_most);
            }
        }
    }
}

fn next_task(shared: &Shared) -> Option<(Task, Turn<'_>)> {
    let mut state = shared.lock();
    loop {
        if state.stage == Stage::Over {
            return None;
        }
        let mut until = None;
        if let Some(writer) = &state.writer {
            match due(shared, &state, writer) {
                (Some(task), due) if due <= Instant::now() => {
                    let writer = state.writer.take();
                    return Some((task, Turn { shared, writer }));
                }
                (task, due) => until = task.map(|_| due),
            }
        }
        state.is_asleep = until.is_none();
        state = Shared::wait(&shared.work, state, until);
        state.is_asleep = false;
    }
}

/// What is to be done next, if anything is, and when.
fn due(shared: &Shared, state: &State, writer: &Writer) -> (Option<Task>, Instant) {
    let options = &shared.options;
    let is_closing = state.stage != Stage::Open;
    if writer.has_records() || state.buffered() > 0 {
        let is_full = writer.has_records() || state.buffered() >= options.max_group_bytes;
        let wait = if is_full || state.is_urgent || is_closing {
            Duration::ZERO
        } else {
            options.max_wait
        };
        (Some(Task::Commit), writer.begun + wait)
    } else if is_closing {
        (Some(Task::Mark(MarkKind::Close)), writer.begun)
    } else if writer.wants_mark(state.durable) {
        (Some(Task::Mark(MarkKind::Idle)), writer.begun + options.idle)
    } else {
        (None, writer.begun)
    }
}

fn wait_for_segment(shared: &Shared) {
    let mut state = shared.lock();
    while state.stage != Stage::Over && state.wanted.is_some() {
        state = Shared::wait(&shared.work, state, None);
    }
}

fn rest(shared: &Shared, until: Instant) {
    let mut state = shared.lock();
    while state.stage != Stage::Over && Instant::now() < until {
        state = Shared::wait(&shared.work, state, Some(until));
    }
}

/// Waits until everything through `seq` is durable; where nobody writes, this thread does. False
/// if `give_up` said so, or the log was closed before.
pub(super) fn wait_durable(shared: &Shared, seq: u64, give_up: &dyn Fn() -> bool) -> bool {
    let mut state = shared.lock();
    while state.durable < seq {
        if state.stage == Stage::Over {
            return false;
        }
        // In trouble the log's own thread alone tries again, at its own pace.
        let is_well = state.write_trouble.is_none() && state.wanted.is_none();
        if is_well && let Some(writer) = state.writer.take() {
            drop(state);
            let mut turn = Turn { shared, writer: Some(writer) };
            if let Some(writer) = &mut turn.writer {
                writer.commit(shared);
            }
            drop(turn);
            state = shared.lock();
            continue;
        }
        state.is_urgent = true;
        shared.work.notify_one();
        match wait(shared, state, give_up) {
            Some(next) => state = next,
            None => return false,
        }
    }
    true
}

/// Waits to be told that more is durable. None when `give_up` says so.
fn wait<'a>(
    shared: &'a Shared,
    mut state: MutexGuard<'a, State>,
    give_up: &dyn Fn() -> bool,
) -> Option<MutexGuard<'a, State>> {
    state.waiting += 1;
    let until = Instant::now() + LOOK;
    state = Shared::wait(&shared.done, state, Some(until));
    state.waiting -= 1;
    if Instant::now() < until {
        return Some(state);
    }
    // Never asked under the lock: it is the caller's code.
    drop(state);
    if give_up() { None } else { Some(shared.lock()) }
}
