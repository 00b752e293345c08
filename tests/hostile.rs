//! Whole workers whose peers are hostile, in both roles, over a simulated network: see `fixring::simulate::hostile`.
//!
//! One seed again: `FIXRING_HOSTILE_SEED=<seed> cargo test --test hostile`. More of them: `FIXRING_HOSTILE_WORLDS=<n>`. The same worlds
//! by a fuzzer's choices: `cargo +nightly fuzz run hostile_peers`.

use fixring::simulate::Failure;
use fixring::simulate::hostile::{Met, play, run};

const WORLDS: u64 = 20;

#[test]
fn nothing_that_a_peer_sends_harms_another_session() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    if let Some(seed) = number("FIXRING_HOSTILE_SEED") {
        println!("{:?}", run(seed).unwrap_or_else(|failure| fail(&failure)));
        return;
    }
    let mut met = Met::default();
    for seed in 0..number("FIXRING_HOSTILE_WORLDS").unwrap_or(WORLDS) {
        met.add(&run(seed).unwrap_or_else(|failure| fail(&failure)));
    }
    println!("{met:?}");
    let missing: Vec<_> = met.rows().into_iter().filter(|(_, count)| *count < 50).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn a_seed_reproduces_exactly() {
    assert_eq!(run(5), run(5));
}

/// What a fuzzer begins with.
#[test]
fn the_worlds_of_any_bytes_hold_too() {
    let mut random = fastrand::Rng::with_seed(1);
    for length in [0, 1, 100, 5_000] {
        let bytes: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
        play(&bytes);
    }
}

fn fail(failure: &Failure) -> ! {
    panic!("{}\nFIXRING_HOSTILE_SEED={} cargo test --test hostile", failure.what, failure.seed)
}
