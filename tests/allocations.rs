//! The message path allocates nothing once a session is logged on: not the worker, nor any thread beside it.

mod orders;
#[path = "whole/mod.rs"]
mod whole;

use fixring::application::Exchange;
use fixring::engine::Engine;
use fixring::sys::allocations::Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const WARM_UP: u64 = 6_000;
const MEASURED: u64 = 3_000;
/// Housekeeping reads the manifest once a second, whatever comes meanwhile. What a message allocates comes in every run.
const RUNS_MAX: u64 = 5;

#[test]
fn nothing_is_allocated_for_a_message_after_the_logon() {
    let directory = whole::Temporary::new();
    // A machine that keeps a thread from its core for a while would have it logged, which allocates.
    let config = orders::small_ring(directory.path(), "stall_alarm = \"60s\"\n");
    let engine = Engine::start(&config, |environment| Exchange::new(environment.snapshot_bytes_max)).unwrap();
    let mut client = orders::Client::logged_on(engine.acceptors()[0]);
    // The first laps make what is made once: the book's memory, a snapshot's, the zero-written segments.
    (0..WARM_UP).for_each(|number| client.order(number));

    assert!(Counting::on_other_threads() > 0, "start-up allocates: a count of nothing would prove nothing");
    let allocates_nothing = (0..RUNS_MAX).any(|run| {
        let (before, first) = (Counting::on_other_threads(), WARM_UP + run * MEASURED);
        (first..first + MEASURED).for_each(|number| client.order(number));
        let allocations = Counting::on_other_threads() - before;
        eprintln!("{allocations} allocations for {MEASURED} orders and their reports");
        allocations == 0
    });
    assert!(allocates_nothing, "there are allocations in every run");
}
