//! A list that is read in many places and replaced as a whole in one. Key type: [`Swap`].

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// A shared list. Whoever reads it keeps what there was at that moment.
pub struct Swap<T>(Arc<Mutex<Arc<[T]>>>);

impl<T> Swap<T> {
    /// The list now.
    pub fn now(&self) -> Arc<[T]> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces it, for all who share it.
    pub fn set(&self, list: impl IntoIterator<Item = T>) {
        let list = list.into_iter().collect();
        let before =
            std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), list);
        // Dropping may take its time, so not while others want to read.
        drop(before);
    }
}

impl<T> Clone for Swap<T> {
    fn clone(&self) -> Self {
        Swap(Arc::clone(&self.0))
    }
}

impl<T> Default for Swap<T> {
    fn default() -> Self {
        Swap::from(Vec::new())
    }
}

impl<T> From<Vec<T>> for Swap<T> {
    fn from(list: Vec<T>) -> Self {
        Swap(Arc::new(Mutex::new(list.into())))
    }
}

impl<T: fmt::Debug> fmt::Debug for Swap<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.now().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_who_share_it_see_the_change_and_readers_keep_what_they_read() {
        let list = Swap::from(vec![1, 2]);
        let (other, read) = (list.clone(), list.now());
        other.set([3]);
        assert_eq!((&*read, &*list.now()), (&[1, 2][..], &[3][..]));
    }
}
