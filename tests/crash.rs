//! Two whole engines in one thread, an initiator and an acceptor, crashed at tens of thousands of seeded moments: see `fixring::simulate`.
//!
//! One seed again: `FIXRING_CRASH_SEED=<seed> cargo test --test crash`, or `fixring simulate --seed <seed>`.

use std::sync::atomic::{AtomicU64, Ordering};

use fixring::simulate::{Failure, Lie, Seen, run, run_over, run_traced};

const SEEDS: u64 = 160;
/// Below this a run proves too little.
const CRASHES_MIN: u64 = 20_000;
const THREADS: usize = 2;

#[test]
fn no_crash_loses_repeats_or_contradicts_what_has_left() {
    if let Some(seed) = std::env::var("FIXRING_CRASH_SEED").ok() {
        let seed = seed.parse().expect("FIXRING_CRASH_SEED is a number");
        println!("{:?}", run_traced(seed).unwrap_or_else(|failure| fail(&failure)));
        return;
    }
    let next = AtomicU64::new(0);
    let seen = std::thread::scope(|scope| {
        let work = || {
            let mut seen = Seen::default();
            while let Some(seed) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < SEEDS) {
                seen.add(&run(seed).unwrap_or_else(|failure| fail(&failure)));
            }
            seen
        };
        let runs: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        let mut seen = Seen::default();
        for run in runs {
            seen.add(&run.join().expect("the seed that failed is named above"));
        }
        seen
    });
    println!("{seen:?}");
    assert!(seen.crashes >= CRASHES_MIN, "{seen:?}");
    // A run that never met the hard cases proves nothing.
    const RARE: [&str; 3] = ["heads", "recycled", "putting aside"];
    let is_rare = |name: &str| RARE.iter().any(|rare| name.contains(rare));
    let missing: Vec<_> = seen.rows().into_iter().filter(|(name, count)| *count < 5 && !is_rare(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn a_volume_that_acknowledges_what_it_has_not_done_is_found_out_in_every_world() {
    for lie in [Lie::Sync, Lie::Write] {
        for seed in 0..8 {
            let failure = run_over(seed, lie, false).expect_err("a volume that lies");
            let told = ["on the media", "was there", "must have survived", "was released", "no commit"];
            assert!(told.iter().any(|told| failure.what.contains(told)), "{lie:?}, seed {seed}: {}", failure.what);
        }
    }
}

#[test]
fn a_seed_reproduces_exactly() {
    for seed in [3, 7] {
        assert_eq!(run(seed), run_traced(seed), "seed {seed}");
    }
}

fn fail(failure: &Failure) -> ! {
    panic!(
        "{}\nfixring simulate --seed {seed}, or FIXRING_CRASH_SEED={seed} cargo test --test crash\n{}",
        failure.what,
        failure.steps.join("\n"),
        seed = failure.seed,
    )
}
