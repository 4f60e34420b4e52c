//! Access tokens: issued, checked, worn out, revoked all at once. Key type: [`Tokens`].

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::sim::content::Rng;

/// How many tokens are remembered; beyond that the oldest are forgotten, which makes them invalid.
const MAX_TOKENS: usize = 10_000;

/// What a valid token allows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grant {
    /// Until when its sockets may stay open.
    pub until: Instant,
    /// How many revocations came before it.
    pub generation: u64,
}

/// The last revocation.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Revocation {
    /// Tokens with a smaller generation are dead.
    pub living: u64,
    /// The stream whose clock did it. It tells its own connections itself, in the order of events.
    pub by: usize,
}

/// All tokens of a simulator.
#[derive(Debug)]
pub(super) struct Tokens {
    life: Duration,
    client_id: String,
    client_secret: String,
    state: Mutex<State>,
    revoked: watch::Sender<Revocation>,
}

#[derive(Debug)]
struct State {
    rng: Rng,
    live: HashMap<String, Grant>,
}

impl Tokens {
    /// No tokens yet; the credentials are those of the seed.
    pub fn new(seed: u64, life: Duration) -> Self {
        let mut rng = Rng::new(seed, "client");
        let client_id = format!("sim-{:016x}", rng.any());
        let client_secret = random(&mut rng);
        let state = State { rng: Rng::new(seed, "token"), live: HashMap::new() };
        let revoked = watch::Sender::new(Revocation::default());
        Tokens { life, client_id, client_secret, state: Mutex::new(state), revoked }
    }

    /// The client id that is accepted.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// The client secret that is accepted.
    pub fn client_secret(&self) -> &str {
        &self.client_secret
    }

    /// Seconds a new token is good for.
    pub fn life(&self) -> u64 {
        self.life.as_secs()
    }

    /// Whether these are the credentials.
    pub fn accepts(&self, client_id: &str, client_secret: &str) -> bool {
        client_id == self.client_id && client_secret == self.client_secret
    }

    /// A new token.
    pub fn issue(&self) -> String {
        let now = Instant::now();
        let generation = self.revoked.borrow().living;
        let mut state = self.state();
        if state.live.len() >= MAX_TOKENS {
            state.live.retain(|_, grant| grant.until > now && grant.generation >= generation);
        }
        if state.live.len() >= MAX_TOKENS {
            let oldest = state.live.iter().min_by_key(|(_, grant)| grant.until);
            let oldest = oldest.map(|(token, _)| token.clone());
            oldest.and_then(|token| state.live.remove(&token));
        }
        let token = random(&mut state.rng);
        state.live.insert(token.clone(), Grant { until: now + self.life, generation });
        token
    }

    /// What a token allows now, if anything.
    pub fn check(&self, token: &str) -> Option<Grant> {
        let grant = *self.state().live.get(token)?;
        let living = self.revoked.borrow().living;
        (grant.until > Instant::now() && grant.generation >= living).then_some(grant)
    }

    /// Makes all tokens issued so far invalid, on behalf of a stream.
    pub fn revoke_all(&self, by: usize) -> Revocation {
        let mut result = Revocation::default();
        self.revoked.send_modify(|last| {
            *last = Revocation { living: last.living + 1, by };
            result = *last;
        });
        result
    }

    /// Tells of revocations from now on.
    pub fn revocations(&self) -> watch::Receiver<Revocation> {
        self.revoked.subscribe()
    }

    /// Nothing here leaves the table half changed, so a panic elsewhere does not spoil it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn random(rng: &mut Rng) -> String {
    let bytes = [(); 4].map(|()| rng.any().to_be_bytes());
    BASE64_URL_SAFE_NO_PAD.encode(bytes.as_flattened())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_wears_out() {
        let tokens = Tokens::new(1, Duration::from_secs(10));
        let token = tokens.issue();
        assert!(tokens.check(&token).is_some());
        assert!(tokens.check("another").is_none());
        let short = Tokens::new(1, Duration::ZERO);
        assert!(short.check(&short.issue()).is_none());
    }

    #[test]
    fn a_revocation_spares_what_comes_after() {
        let tokens = Tokens::new(1, Duration::from_secs(10));
        let (before, mut told) = (tokens.issue(), tokens.revocations());
        tokens.revoke_all(3);
        let after = tokens.issue();
        assert!(tokens.check(&before).is_none());
        assert!(tokens.check(&after).is_some());
        assert_eq!(told.borrow_and_update().by, 3);
        assert_ne!(before, after);
    }
}
