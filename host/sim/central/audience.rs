//! The connections of one stream as its clock serves them: those on their own get everything, those
//! that share a `Subscriber-Id` take turns. Key type: [`Audience`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::batch::{Batch, Delivery, EXTRA, Pending};
use super::faults::{Ending, Faults};
use super::hub::{Handed, News, Share, Subscriber};

/// How many batches are kept for one that is away; then the oldest are given up.
pub(super) const MAX_BACKLOG: usize = 50_000;

/// How many ids that are away are remembered; then the oldest is forgotten.
const MAX_AWAY: usize = 64;

/// Everyone a clock serves.
#[derive(Debug)]
pub(super) struct Audience {
    singles: Vec<Subscriber>,
    groups: Vec<Group>,
    /// How long an id that is away is remembered.
    keep: Option<Duration>,
    history: Option<History>,
    anyone_came: bool,
}

/// Connections that share, or shared.
#[derive(Debug)]
struct Group {
    share: Share,
    members: Vec<Subscriber>,
    /// Whose turn it is.
    next: usize,
    /// What nobody could take, and since when it waits.
    backlog: Backlog,
    /// Since when there has been no member.
    away: Option<Instant>,
}

/// What waits, the oldest first.
type Backlog = VecDeque<(Instant, Delivery)>;

/// The last events that were sent.
#[derive(Debug)]
struct History {
    depth: usize,
    batches: VecDeque<(Arc<Batch>, Option<Pending>)>,
    events: usize,
}

impl Audience {
    /// Nobody yet.
    pub fn new(faults: &Faults) -> Self {
        let history = faults.duplicates.map(|depth| History {
            depth: depth.get() as usize,
            batches: VecDeque::new(),
            events: 0,
        });
        Audience {
            singles: Vec::new(),
            groups: Vec::new(),
            keep: faults.redeliver,
            history,
            anyone_came: false,
        }
    }

    /// Whether nobody is connected.
    pub fn is_empty(&self) -> bool {
        self.singles.is_empty() && self.groups.iter().all(|group| group.members.is_empty())
    }

    /// How many frames may be made before somebody's connection ends.
    pub fn frames_left(&self) -> Option<u64> {
        let members = self.groups.iter().flat_map(|group| &group.members);
        self.singles.iter().chain(members).filter_map(|s| s.left.map(|(left, _)| left)).min()
    }

    /// Takes over who came and what came back.
    pub fn take(&mut self, news: News) {
        for (share, deliveries) in news.returned {
            let keep = self.keep;
            if let Some(group) = self.groups.iter_mut().find(|group| group.share == share) {
                group.put_back(deliveries);
                group.hand_out(keep);
            }
        }
        for subscriber in news.arrivals {
            self.admit(subscriber);
        }
    }

    fn admit(&mut self, subscriber: Subscriber) {
        let again = self.anyone_came;
        self.anyone_came = true;
        let history = self.history.as_ref().filter(|_| again);
        let Some(share) = subscriber.share.clone() else {
            if history.is_none_or(|history| history.repeat(&subscriber, &VecDeque::new())) {
                self.singles.push(subscriber);
            }
            return;
        };
        let index = self.groups.iter().position(|group| group.share == share);
        let index = index.unwrap_or_else(|| {
            self.groups.push(Group::new(share));
            self.groups.len() - 1
        });
        let group = &mut self.groups[index];
        if history.is_none_or(|history| history.repeat(&subscriber, &group.backlog)) {
            group.members.push(subscriber);
            group.away = None;
            group.hand_out(self.keep);
        }
    }

    /// Forgets who is gone, and what has waited too long.
    pub fn tidy(&mut self) {
        self.singles.retain(|subscriber| !subscriber.queue.is_closed());
        if self.groups.is_empty() {
            return;
        }
        let (now, keep) = (Instant::now(), self.keep);
        self.groups.retain_mut(|group| group.tidy(now, keep));
        while self.groups.iter().filter(|group| group.away.is_some()).count() > MAX_AWAY {
            let oldest = (0..self.groups.len()).filter(|i| self.groups[*i].away.is_some());
            match oldest.min_by_key(|i| self.groups[*i].away) {
                Some(oldest) => drop(self.groups.swap_remove(oldest)),
                None => return,
            }
        }
    }

    /// Hands a batch to everyone; of those that share, to one.
    pub fn deliver(&mut self, batch: &Arc<Batch>, pending: Option<&Pending>) {
        if let Some(history) = self.history.as_mut() {
            let anyone = !self.singles.is_empty() || !self.groups.is_empty();
            anyone.then(|| history.add(batch, pending));
        }
        self.singles.retain_mut(|s| matches!(s.deliver(batch, pending), Handed::Over));
        for group in &mut self.groups {
            group.deliver(batch, pending, self.keep);
        }
    }

    /// Gives up the oldest of the last events that were sent, if it is kept for nothing but to be sent
    /// again.
    pub fn forget_oldest(&mut self) {
        self.history.as_mut().map(History::forget_oldest);
    }

    /// Ends connections whose token is dead, after what they have been handed so far.
    pub fn expire(&mut self, living: u64) {
        let nothing = Arc::new(Batch::new(Vec::new(), Vec::new(), false));
        let ending = Ending::Close { code: Some(1000), reason: "the access token has expired" };
        let stays = |subscriber: &mut Subscriber| {
            if subscriber.generation >= living {
                return true;
            }
            let batch = Arc::clone(&nothing);
            // A queue that nobody reads belongs to a connection that is closed already.
            let then = Some(ending);
            subscriber.hand(Delivery { batch, frames: None, then, asks: false, _pending: None });
            false
        };
        self.singles.retain_mut(stays);
        self.groups.iter_mut().for_each(|group| group.members.retain_mut(stays));
    }
}

impl Group {
    fn new(share: Share) -> Self {
        Group { share, members: Vec::new(), next: 0, backlog: VecDeque::new(), away: None }
    }

    fn deliver(&mut self, batch: &Arc<Batch>, pending: Option<&Pending>, keep: Option<Duration>) {
        while !self.members.is_empty() && self.backlog.is_empty() {
            let turn = self.next % self.members.len();
            match self.members[turn].deliver(batch, pending) {
                Handed::Over => {
                    self.next = turn + 1;
                    return;
                }
                Handed::Last => {
                    self.members.remove(turn);
                    return;
                }
                Handed::Back(_) => drop(self.members.remove(turn)),
            }
        }
        if keep.is_some() {
            let (batch, pending) = (Arc::clone(batch), pending.cloned());
            let delivery =
                Delivery { batch, frames: None, then: None, asks: false, _pending: pending };
            self.backlog.push_back((Instant::now(), delivery));
            self.bound();
        }
    }

    /// What a member could not send is older than anything that waits.
    fn put_back(&mut self, deliveries: Vec<Delivery>) {
        let now = Instant::now();
        for delivery in deliveries.into_iter().rev() {
            self.backlog.push_front((now, Delivery { then: None, asks: false, ..delivery }));
        }
        self.bound();
    }

    fn bound(&mut self) {
        let over = self.backlog.len().saturating_sub(MAX_BACKLOG);
        if over > 0 {
            tracing::warn!(id = &*self.share.id, batches = over, "given up: too much waits");
            self.backlog.drain(..over);
        }
    }

    /// Hands what waits to members; without any, and where nothing is kept, it is given up.
    fn hand_out(&mut self, keep: Option<Duration>) {
        while let Some((since, delivery)) = self.backlog.pop_front() {
            if self.members.is_empty() {
                self.backlog.push_front((since, delivery));
                break;
            }
            let turn = self.next % self.members.len();
            match self.members[turn].hand(delivery) {
                Handed::Over | Handed::Last => self.next = turn + 1,
                Handed::Back(delivery) => {
                    self.members.remove(turn);
                    self.backlog.push_front((since, delivery));
                }
            }
        }
        if keep.is_none() {
            self.backlog.clear();
        }
    }

    /// False once there is nothing to remember it for.
    fn tidy(&mut self, now: Instant, keep: Option<Duration>) -> bool {
        self.members.retain(|member| !member.queue.is_closed());
        if !self.members.is_empty() {
            return true;
        }
        let Some(keep) = keep else { return false };
        let late = |(since, _): &(Instant, Delivery)| now.duration_since(*since) > keep;
        while self.backlog.front().is_some_and(late) {
            self.backlog.pop_front();
        }
        now.duration_since(*self.away.get_or_insert(now)) <= keep
    }
}

impl History {
    fn add(&mut self, batch: &Arc<Batch>, pending: Option<&Pending>) {
        self.events += events_of(batch).count();
        self.batches.push_back((Arc::clone(batch), pending.cloned()));
        while let Some((first, _)) = self.batches.front() {
            let rest = self.events - events_of(first).count();
            if rest < self.depth {
                return;
            }
            self.events = rest;
            self.batches.pop_front();
        }
    }

    fn forget_oldest(&mut self) {
        let is_last = |pending: &Option<Pending>| pending.as_ref().is_some_and(Pending::is_last);
        if let Some((batch, _)) = self.batches.pop_front_if(|(_, pending)| is_last(pending)) {
            self.events -= events_of(&batch).count();
        }
    }

    /// Sends a connection the last events again, except those that it will get anyway, and asks
    /// whether they have arrived; false when it is gone.
    fn repeat(&self, subscriber: &Subscriber, waiting: &Backlog) -> bool {
        let mut left = self.depth;
        let mut deliveries = Vec::new();
        for (batch, pending) in self.batches.iter().rev() {
            let of_batch = waiting.iter().map(|(_, waits)| waits);
            let of_batch: Vec<_> = of_batch.filter(|w| Arc::ptr_eq(&w.batch, batch)).collect();
            let waits = |frame: &u32| of_batch.iter().any(|waits| waits.has(*frame));
            let sent = events_of(batch).rev().filter(|frame| !waits(frame));
            let mut frames: Vec<u32> = sent.take(left).collect();
            left -= frames.len();
            frames.reverse();
            if !frames.is_empty() {
                let asks = deliveries.is_empty();
                let (batch, _pending) = (Arc::clone(batch), pending.clone());
                let frames = Some(frames.into());
                deliveries.push(Delivery { batch, frames, then: None, asks, _pending });
            }
        }
        deliveries.into_iter().rev().all(|d| matches!(subscriber.hand(d), Handed::Over))
    }
}

/// The frames of a batch that are events.
fn events_of(batch: &Batch) -> impl DoubleEndedIterator<Item = u32> {
    let is_event = |frame: &u32| batch.marks[*frame as usize].kind != EXTRA;
    (0..batch.marks.len() as u32).filter(is_event)
}
