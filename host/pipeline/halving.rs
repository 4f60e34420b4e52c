//! Finding the one bad event of a batch by halving. Pure. Key function: [`run`].

use crate::outcome::Answer;
use crate::runner::{Failure, Reason};

/// What came of a part of the items: an answer for all of them, or the failure of a single one.
#[derive(Debug, PartialEq, Eq)]
pub struct Part<T> {
    /// The items.
    pub items: Vec<T>,
    /// What came of them.
    pub result: Result<Answer, (Reason, String)>,
}

/// The host is stopping; nothing is known of the items from this number on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped;

/// Runs `call` on all items; where it fails, on their halves, until the single item is found that
/// it fails on. Parts come in the order of the items.
///
/// # Errors
/// When the host is stopping.
pub fn run<T: Copy>(
    items: &[T],
    call: &mut impl FnMut(&[T]) -> Result<Answer, Failure>,
) -> Result<Vec<Part<T>>, Stopped> {
    // Depth is bounded by the logarithm of the batch; an explicit stack keeps the order plain.
    let mut todo = vec![items];
    let mut parts = Vec::new();
    while let Some(part) = todo.pop() {
        let result = match call(part) {
            Ok(answer) => Ok(answer),
            Err(Failure::Stopped) => return Err(Stopped),
            Err(Failure::Failed(_, _)) if part.len() > 1 => {
                let (first, second) = part.split_at(part.len() / 2);
                todo.push(second);
                todo.push(first);
                continue;
            }
            Err(Failure::Failed(reason, detail)) => Err((reason, detail)),
        };
        parts.push(Part { items: part.to_vec(), result });
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Verdicts;

    fn search(count: u32, bad: &[u32]) -> (Vec<u32>, Vec<u32>, usize) {
        let items: Vec<u32> = (0..count).collect();
        let mut calls = 0;
        let mut call = |part: &[u32]| {
            calls += 1;
            if part.iter().any(|item| bad.contains(item)) {
                return Err(Failure::Failed(Reason::Trap, String::new()));
            }
            Ok(Answer::Verdicts(Verdicts { keep: vec![1; part.len()], faults: vec![] }))
        };
        let parts = run(&items, &mut call).unwrap();
        let order: Vec<u32> = parts.iter().flat_map(|part| part.items.clone()).collect();
        assert_eq!(order, items, "every item once, in order");
        let (good, failed): (Vec<_>, Vec<_>) = parts.iter().partition(|p| p.result.is_ok());
        let flat = |parts: Vec<&Part<u32>>| parts.iter().flat_map(|p| p.items.clone()).collect();
        (flat(good), flat(failed), calls)
    }

    #[test]
    fn exactly_the_bad_ones_are_found() {
        for bad in [&[][..], &[0], &[63], &[5, 6], &[0, 31, 32, 63]] {
            let (good, failed, _) = search(64, bad);
            assert_eq!(failed, bad);
            assert_eq!(good.len(), 64 - bad.len());
        }
    }

    #[test]
    fn one_bad_one_costs_two_calls_per_halving() {
        assert_eq!(search(64, &[17]).2, 13);
    }
}
