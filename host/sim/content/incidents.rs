//! What goes wrong in the simulated estate, and when: a calendar that each stream reads for itself,
//! so that all of them tell one story without sharing anything. Every four simulated minutes some
//! access points of one site drop within half a minute and return a minute or two later, and one
//! elsewhere restarts. Key type: [`Calendar`].

use std::collections::VecDeque;

use super::rng::{Rng, key, mix};
use super::world::World;

/// Length of one page of the calendar. Whatever breaks on a page is mended on it.
pub(super) const PAGE_MILLIS: u64 = 240_000;

/// An access point goes down or comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    /// Milliseconds since the world began.
    pub at: u64,
    /// Index of the access point.
    pub ap: usize,
    /// Whether it comes back.
    pub up: bool,
    /// How many access points of the site are down after this turn.
    pub down_at_site: usize,
    /// Whether it is a restart that somebody ordered, not a failure.
    pub planned: bool,
}

/// The calendar, read forwards.
#[derive(Debug)]
pub(super) struct Calendar {
    seed: u64,
    /// Range of access points of each site.
    sites: Vec<std::ops::Range<usize>>,
    page: u64,
    turns: VecDeque<Turn>,
    down: Vec<bool>,
}

impl Calendar {
    /// The calendar of a world, open at its first page.
    pub fn new(seed: u64, world: &World) -> Self {
        let sites = world.sites.iter().map(|site| site.aps.clone()).collect();
        let down = vec![false; world.aps.len()];
        let mut calendar = Calendar { seed, sites, page: 0, turns: VecDeque::new(), down };
        calendar.write_page();
        calendar
    }

    /// The next turn that has come by now, once.
    pub fn due(&mut self, elapsed: u64) -> Option<Turn> {
        loop {
            match self.turns.front() {
                Some(turn) if turn.at <= elapsed => {
                    let turn = self.turns.pop_front()?;
                    self.down[turn.ap] = !turn.up;
                    return Some(turn);
                }
                Some(_) => return None,
                None if elapsed < (self.page + 1) * PAGE_MILLIS => return None,
                None => {
                    self.page += 1;
                    self.write_page();
                }
            }
        }
    }

    /// Whether an access point is down, by the turns taken so far.
    pub fn is_down(&self, ap: usize) -> bool {
        self.down[ap]
    }

    fn write_page(&mut self) {
        // One generator for each page, so that a page does not depend on those before it.
        let mut rng = Rng::new(key(self.seed, "calendar") ^ mix(self.page), "page");
        let start = self.page * PAGE_MILLIS;
        // Each site has its turn.
        let first = key(self.seed, "first site") % self.sites.len() as u64;
        let site = (first + self.page) as usize % self.sites.len();
        let mut turns = self.outage(&mut rng, start, site);
        let elsewhere = (site + 1 + rng.index(self.sites.len() - 1)) % self.sites.len();
        let aps = self.sites[elsewhere].clone();
        let ap = aps.start + rng.index(aps.len());
        let at = start + 1_000 * u64::from(rng.between(150, 180));
        let back = at + 1_000 * u64::from(rng.between(30, 45));
        for (at, up) in [(at, false), (back, true)] {
            turns.push(Turn { at, ap, up, down_at_site: usize::from(!up), planned: true });
        }
        turns.sort_by_key(|turn| turn.at);
        self.turns = turns.into();
    }

    /// Three or four access points of a site, one after the other; one always stays up, for the
    /// clients to move to.
    fn outage(&self, rng: &mut Rng, start: u64, site: usize) -> Vec<Turn> {
        let aps = self.sites[site].clone();
        let count = if aps.len() > 4 && rng.per_mille(300) { 4 } else { 3 };
        let first = rng.index(aps.len());
        let mut at = start + 1_000 * u64::from(rng.between(20, 40));
        let mut turns = Vec::new();
        let chosen: Vec<_> = (0..count).map(|n| aps.start + (first + n) % aps.len()).collect();
        for (n, ap) in chosen.iter().enumerate() {
            turns.push(Turn { at, ap: *ap, up: false, down_at_site: n + 1, planned: false });
            at += u64::from(rng.between(3_000, 8_000));
        }
        at += u64::from(rng.between(60_000, 100_000));
        for (n, ap) in chosen.iter().enumerate() {
            let down_at_site = count - n - 1;
            turns.push(Turn { at, ap: *ap, up: true, down_at_site, planned: false });
            at += u64::from(rng.between(2_000, 6_000));
        }
        turns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(seed: u64, until: u64) -> Vec<Turn> {
        let world = World::new(seed);
        let mut calendar = Calendar::new(seed, &world);
        let steps = (0..until).step_by(500);
        steps.flat_map(|now| std::iter::from_fn(|| calendar.due(now)).collect::<Vec<_>>()).collect()
    }

    #[test]
    fn three_drop_within_a_minute_on_every_page() {
        for seed in 0..20 {
            let turns = turns(seed, 10 * PAGE_MILLIS);
            for page in 0..10 {
                let outage: Vec<_> = turns
                    .iter()
                    .filter(|t| t.at / PAGE_MILLIS == page && !t.up && !t.planned)
                    .collect();
                assert!(outage.len() >= 3);
                assert!(outage[outage.len() - 1].at - outage[0].at < 60_000);
            }
        }
    }

    #[test]
    fn whatever_goes_down_comes_back_on_its_page() {
        for seed in 0..20 {
            let mut down = std::collections::BTreeMap::new();
            for turn in turns(seed, 10 * PAGE_MILLIS) {
                match turn.up {
                    false => assert!(down.insert(turn.ap, turn.at / PAGE_MILLIS).is_none()),
                    true => assert_eq!(down.remove(&turn.ap), Some(turn.at / PAGE_MILLIS)),
                }
            }
            assert!(down.is_empty());
        }
    }
}
