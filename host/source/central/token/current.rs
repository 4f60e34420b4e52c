//! The token at hand, and whether it is time for another. Pure: the time comes in as an argument. Key
//! type: [`Current`].

use std::time::Duration;

use secrecy::ExposeSecret as _;
use tokio::time::Instant;

use super::answer::Granted;
use super::{Token, TokenError};
use crate::backoff::{Backoff, Class};

/// Waits between tokens that are refused one after the other, and between renewals that fail.
const LEAST_WAIT: Duration = Duration::from_secs(1);
const MOST_WAIT: Duration = Duration::from_secs(300);

/// The token at hand.
pub(super) struct Current {
    token: Option<Token>,
    /// Whether a server has taken it.
    is_accepted: bool,
    /// Whether a server has refused it.
    is_refused: bool,
    /// Tokens that were refused one after the other, none accepted between them.
    refused: u32,
    backoff: Backoff,
    /// Not before then is one asked for in place of a refused one.
    not_before: Option<Instant>,
    /// The last failure to get one, and when.
    failed: Option<(Instant, TokenError)>,
}

impl Default for Current {
    fn default() -> Self {
        Current {
            token: None,
            is_accepted: false,
            is_refused: false,
            refused: 0,
            backoff: Backoff::new(LEAST_WAIT, MOST_WAIT),
            not_before: None,
            failed: None,
        }
    }
}

/// What to do for somebody who wants a token.
pub(super) enum Next {
    /// This one will do.
    Use(Token),
    /// There is none, and asking would not help now.
    Fail(TokenError),
    /// Ask for one.
    Ask,
}

impl Current {
    /// What to do for somebody who has wanted a token since `called`.
    pub fn next(&mut self, called: Instant, now: Instant) -> Next {
        if let Some(token) = &self.token {
            let is_patient = self.not_before.is_some_and(|not_before| not_before > now);
            if token.is_good(now) && (!self.is_refused || is_patient) {
                return Next::Use(token.clone());
            }
        }
        let Some((failed, mut error)) = self.failed.clone() else { return Next::Ask };
        let left = error.after().and_then(|after| (failed + after).checked_duration_since(now));
        let left = left.filter(|left| !left.is_zero());
        // Who waited while another asked in vain need not ask again, nor does anybody as long as the
        // server wants to be left alone.
        if failed < called && left.is_none() {
            return Next::Ask;
        }
        if left.is_some() {
            error.class = Class::Transient { after: left };
        }
        match self.make_do(now) {
            Some(token) => Next::Use(token),
            None => Next::Fail(error),
        }
    }

    /// A token was got.
    pub fn granted(&mut self, granted: Granted, now: Instant) -> Token {
        (self.is_accepted, self.is_refused) = (false, false);
        self.failed = None;
        self.token.insert(Token::new(granted, now)).clone()
    }

    /// None was got: the one at hand will do as long as it is good, and another is tried later.
    pub fn failed(&mut self, error: TokenError, now: Instant) -> Result<Token, TokenError> {
        let wait = self.backoff.next_wait().max(error.after().unwrap_or_default());
        self.failed = Some((now, error.clone()));
        if let Some(token) = &mut self.token
            && token.is_due(now)
        {
            token.renew_at = Some(now + wait);
        }
        self.make_do(now).ok_or(error)
    }

    fn make_do(&self, now: Instant) -> Option<Token> {
        self.token.clone().filter(|token| !token.has_expired(now) && !self.is_refused)
    }

    /// A server took a token.
    pub fn accept(&mut self, token: &Token) {
        if self.token.as_ref().is_some_and(|own| own.is(token)) {
            (self.is_accepted, self.is_refused) = (true, false);
            self.refused = 0;
            self.backoff.reset();
            self.not_before = None;
        }
    }

    /// A server refused a token. If it had worked before, its time was up; if not, the next will
    /// hardly be better, and is not asked for in haste. Gives back whether another is to be had at
    /// once.
    pub fn refuse(&mut self, token: &Token, now: Instant) -> bool {
        let is_current = self.token.as_ref().is_some_and(|own| own.is(token));
        if !is_current {
            // Replaced meanwhile.
            return true;
        }
        if self.is_refused {
            return self.not_before.is_none();
        }
        self.is_refused = true;
        if self.is_accepted {
            self.refused = 0;
        } else {
            self.refused = self.refused.saturating_add(1);
        }
        self.not_before = (self.refused > 1).then(|| now + self.backoff.next_wait());
        self.not_before.is_none()
    }

    /// The token given once and for all.
    pub fn keep(&mut self, granted: impl FnOnce() -> Granted, now: Instant) -> Token {
        self.token.get_or_insert_with(|| Token::new(granted(), now)).clone()
    }

    /// What a file holds now, and whether that is news.
    pub fn read(&mut self, granted: Granted, now: Instant) -> (Token, bool) {
        let fresh = Token::new(granted, now);
        match &mut self.token {
            Some(own) if own.secret.expose_secret() == fresh.secret.expose_secret() => {
                // The same, nearer to its end: looked at again after most of what is left.
                if own.is_due(now) {
                    own.renew_at = fresh.renew_at.map(|at| at.max(now + LEAST_WAIT));
                }
                (own.clone(), false)
            }
            own => (own.insert(fresh).clone(), true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(life: Option<u64>) -> Granted {
        Granted { token: "t".into(), life: life.map(Duration::from_secs) }
    }

    fn failure(after: Option<u64>) -> TokenError {
        let class = Class::Transient { after: after.map(Duration::from_secs) };
        TokenError { what: "down".to_owned(), hint: String::new(), class }
    }

    fn used(next: Next) -> Option<Token> {
        match next {
            Next::Use(token) => Some(token),
            _ => None,
        }
    }

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_token_is_renewed_when_most_of_its_life_is_over() {
        let got = Instant::now();
        let mut current = Current::default();
        assert!(matches!(current.next(got, got), Next::Ask));
        let token = current.granted(granted(Some(100)), got);
        assert_eq!(token.renew_at, Some(got + seconds(80)));
        let at = |current: &mut Current, s| used(current.next(got + seconds(s), got + seconds(s)));
        assert!(at(&mut current, 79).is_some() && at(&mut current, 80).is_none());
        assert!(!token.has_expired(got + seconds(99)) && token.has_expired(got + seconds(100)));
        current.granted(granted(None), got);
        assert!(at(&mut current, 1_000_000).is_some(), "nobody said how long it lives");
    }

    #[test]
    fn a_renewal_that_fails_leaves_the_token_in_use_until_it_expires() {
        let got = Instant::now();
        let mut current = Current::default();
        let first = current.granted(granted(Some(100)), got);
        let now = got + seconds(85);
        let kept = current.failed(failure(Some(5)), now).unwrap();
        assert!(kept.is(&first));
        assert_eq!(kept.renew_at, Some(now + seconds(5)), "as the server wants it");
        let late = got + seconds(100);
        assert!(matches!(current.next(late, late), Next::Ask));
        assert_eq!(current.failed(failure(None), late).unwrap_err(), failure(None));
    }

    #[test]
    fn one_failure_is_told_to_all_who_waited_and_a_server_is_left_alone_when_it_says_so() {
        let start = Instant::now();
        let mut current = Current::default();
        assert!(current.failed(failure(None), start + seconds(1)).is_err());
        assert!(matches!(current.next(start, start + seconds(1)), Next::Fail(_)));
        assert!(matches!(current.next(start + seconds(2), start + seconds(2)), Next::Ask));
        assert!(current.failed(failure(Some(60)), start + seconds(2)).is_err());
        let later = start + seconds(30);
        let Next::Fail(error) = current.next(later, later) else { panic!("it was asked") };
        assert_eq!(error.after(), Some(seconds(32)));
        let later = start + seconds(62);
        assert!(matches!(current.next(later, later), Next::Ask));
    }

    #[test]
    fn a_refused_token_is_replaced_at_once_unless_the_one_before_never_worked_either() {
        let now = Instant::now();
        let mut current = Current::default();
        for _ in 0..3 {
            let token = current.granted(granted(None), now);
            current.accept(&token);
            assert!(current.refuse(&token, now), "it had worked");
            assert!(current.refuse(&token, now), "refused to another stream too");
            assert!(matches!(current.next(now, now), Next::Ask));
        }
        let token = current.granted(granted(None), now);
        assert!(current.refuse(&token, now), "the first");
        assert!(matches!(current.next(now, now), Next::Ask));
        for _ in 0..20 {
            let token = current.granted(granted(None), now);
            assert!(!current.refuse(&token, now) && !current.refuse(&token, now));
            let other = used(current.next(now, now)).expect("another stream may have use for it");
            assert!(other.is(&token));
            let late = now + MOST_WAIT;
            assert!(matches!(current.next(late, late), Next::Ask));
            assert!(current.refuse(&Token::new(granted(None), now), now), "one long replaced");
        }
        let token = current.granted(granted(None), now);
        current.accept(&token);
        assert!(current.refuse(&token, now), "all is forgotten once one is accepted");
    }
}
