//! What a worker, a flusher and a stager share without a lock, under every order in which they may see each other's memory (loom).
//!
//! The sources are fixring's own: `sys/ring.rs` with its marks, `journal/wanted.rs` with its sleep, `journal/recycling.rs` with its question before
//! a segment is overwritten. Only what lies below them is replaced: atomics, the sleep, and the ring's memory. Queues between threads are
//! rtrb's, which tests them so itself.

#![allow(dead_code, reason = "each model needs a part of the sources")]

mod journal;
mod ring_models;
mod sys;

use journal::models as journal_models;

/// More preemptions of a thread than this find nothing that fewer have not, and cost hours.
const PREEMPTIONS_MAX: usize = 3;

fn main() {
    let models: [(&str, fn()); 6] = [
        (
            "what the worker publishes the flusher reads whole, lap after lap",
            ring_models::what_is_published_is_read_whole_lap_after_lap,
        ),
        ("what is released is on the volume", ring_models::what_is_released_is_on_the_volume),
        (
            "what a stager reads up to the mark is on the volume",
            ring_models::what_a_third_party_reads_up_to_the_mark_is_there,
        ),
        ("a flusher that sleeps is woken by whoever waits", journal_models::a_sleeping_flusher_is_woken),
        (
            "what is read of a segment is known to be of its lap",
            journal_models::what_is_read_of_a_segment_is_known_to_be_of_its_lap,
        ),
        ("only a segment that is archived is overwritten", journal_models::an_archived_segment_alone_is_overwritten),
    ];
    for (name, model) in models {
        let began = std::time::Instant::now();
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(PREEMPTIONS_MAX);
        builder.max_branches = 10_000;
        builder.check(model);
        println!("{name}: every order is sound ({:.1?})", began.elapsed());
    }
}
