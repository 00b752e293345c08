//! What decides everything in a hostile world.

use std::collections::VecDeque;

/// Steps of a seed's world. One of bytes has as many as the bytes last.
const STEPS_A_SEED: u32 = 6_000;
const STEPS_OF_BYTES_MAX: u32 = 20_000;

/// A source of choices: a generator, or bytes that somebody else has made up.
pub struct Choices {
    pub seed: u64,
    random: fastrand::Rng,
    bytes: Option<VecDeque<u8>>,
    steps_left: u32,
}

impl Choices {
    pub fn of_seed(seed: u64) -> Self {
        Self { seed, random: fastrand::Rng::with_seed(seed), bytes: None, steps_left: STEPS_A_SEED }
    }

    pub fn of_bytes(bytes: &[u8]) -> Self {
        let random = fastrand::Rng::with_seed(0);
        Self { seed: 0, random, bytes: Some(bytes.iter().copied().collect()), steps_left: STEPS_OF_BYTES_MAX }
    }

    /// Whether the world takes another step.
    pub fn next_step(&mut self) -> bool {
        self.steps_left = self.steps_left.saturating_sub(1);
        self.steps_left > 0 && self.bytes.as_ref().is_none_or(|bytes| !bytes.is_empty())
    }

    /// A number below `end`; 0 when the bytes are used up.
    pub fn below(&mut self, end: usize) -> usize {
        let Some(bytes) = &mut self.bytes else { return self.random.usize(..end.max(1)) };
        let mut number = usize::from(bytes.pop_front().unwrap_or(0));
        if end > 256 {
            number = number << 8 | usize::from(bytes.pop_front().unwrap_or(0));
        }
        number % end.max(1)
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    pub fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}
