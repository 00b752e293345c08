//! Where a worker is in its turn: a cell that the worker writes and housekeeping reads.
//!
//! Each step of the message path begins with one store of its [`Stage`]. That is always on: it lets the stall watchdog say where a
//! worker stands that does not come back. With stamps on ([`WorkerTrace::start_stamps`]) each such mark also reads the processor's
//! time counter, and what every stage takes is counted, message by message.
//!
//! A cell has one writer, its worker; all stores are relaxed, so that a reader may see stage and session of two neighbouring moments.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Instant;

use super::counters::{Counter, WorkerCounters};
use crate::sys::tsc::ticks;

/// What a worker does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Stage {
    /// Between two turns: the clock is read, or the thread waits for its core.
    Idle = 0,
    /// Mail of other threads, connections to accept.
    Turn,
    /// The operating system is asked which sockets are ready.
    Poll,
    /// The same, where there was nothing to do: the thread sleeps until one is, or a timer is due.
    Sleep,
    Receive,
    Frame,
    Decode,
    JournalIn,
    Session,
    Application,
    Encode,
    JournalOut,
    Commit,
    /// A new segment begins: every session's state and the application's snapshot are written.
    Roll,
    Timers,
    /// What may leave is gathered.
    Release,
    Send,
    Resend,
    /// Counters are published, and what the next message will need is made ready.
    Publish,
    /// The worker has come to its end.
    Ended,
}

/// In the order of their numbers.
pub const STAGES: [Stage; 20] = [
    Stage::Idle,
    Stage::Turn,
    Stage::Poll,
    Stage::Sleep,
    Stage::Receive,
    Stage::Frame,
    Stage::Decode,
    Stage::JournalIn,
    Stage::Session,
    Stage::Application,
    Stage::Encode,
    Stage::JournalOut,
    Stage::Commit,
    Stage::Roll,
    Stage::Timers,
    Stage::Release,
    Stage::Send,
    Stage::Resend,
    Stage::Publish,
    Stage::Ended,
];

impl Stage {
    /// As metrics and the log call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Turn => "turn",
            Self::Poll => "poll",
            Self::Sleep => "sleep",
            Self::Receive => "receive",
            Self::Frame => "frame",
            Self::Decode => "decode",
            Self::JournalIn => "journal_in",
            Self::Session => "session",
            Self::Application => "application",
            Self::Encode => "encode",
            Self::JournalOut => "journal_out",
            Self::Commit => "commit",
            Self::Roll => "roll",
            Self::Timers => "timers",
            Self::Release => "release",
            Self::Send => "send",
            Self::Resend => "resend",
            Self::Publish => "publish",
            Self::Ended => "ended",
        }
    }

    fn of(number: u8) -> Self {
        STAGES.get(usize::from(number)).copied().unwrap_or(Self::Idle)
    }
}

/// Which session a worker is at: its journal and its number there.
pub type TracedSession = (u16, u32);

/// Made for each worker by [`super::Shared::new`].
#[derive(Debug)]
pub struct WorkerTrace {
    stage: AtomicU8,
    is_stamping: AtomicBool,
    /// Packed, see [`pack`].
    session: AtomicU64,
    long_turn_ns: AtomicU64,
    longest: Longest,
    stamps: OnceLock<Box<Stamps>>,
}

/// The longest turn so far.
#[derive(Debug, Default)]
struct Longest {
    turn: AtomicU64,
    ns: AtomicU64,
    /// Where the most of it went, plus one; 0 without stamps.
    stage: AtomicU8,
    session: AtomicU64,
}

/// What [`WorkerTrace::longest`] tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LongestTurn {
    /// Its number, from 1.
    pub turn: u64,
    pub ns: u64,
    /// The stage and session of its longest stretch. `None` without stamps.
    pub blame: Option<(Stage, Option<TracedSession>)>,
}

impl Default for WorkerTrace {
    fn default() -> Self {
        Self {
            stage: AtomicU8::new(Stage::Idle as u8),
            is_stamping: AtomicBool::new(false),
            session: AtomicU64::new(0),
            long_turn_ns: AtomicU64::new(u64::MAX),
            longest: Longest::default(),
            stamps: OnceLock::new(),
        }
    }
}

impl WorkerTrace {
    /// The worker begins a stage.
    #[inline]
    pub fn at(&self, stage: Stage) {
        if self.is_stamping.load(Ordering::Relaxed) {
            self.stamp(stage);
        }
        self.stage.store(stage as u8, Ordering::Relaxed);
    }

    /// The worker begins a turn, of no session yet.
    #[inline]
    pub fn begin_turn(&self) {
        self.at(Stage::Turn);
        self.of_no_session();
    }

    /// What follows is about this session.
    #[inline]
    pub fn of(&self, journal: u16, number: u32) {
        self.session.store(pack(Some((journal, number))), Ordering::Relaxed);
    }

    #[inline]
    pub fn of_no_session(&self) {
        self.session.store(0, Ordering::Relaxed);
    }

    /// A busy turn, by its number from 1, has taken so long until the next.
    #[inline]
    pub fn took(&self, counters: &WorkerCounters, turn: u64, ns: u64) {
        if ns > self.long_turn_ns.load(Ordering::Relaxed) {
            counters.long_turns.add(1);
        }
        if ns > counters.longest_turn_ns.value() {
            counters.longest_turn_ns.set(ns);
            self.set_longest(turn, ns);
        }
    }

    #[cold]
    fn set_longest(&self, turn: u64, ns: u64) {
        let blame = self.stamps().map_or((0, 0), |stamps| {
            (stamps.last_stage.load(Ordering::Relaxed) + 1, stamps.last_session.load(Ordering::Relaxed))
        });
        self.longest.stage.store(blame.0, Ordering::Relaxed);
        self.longest.session.store(blame.1, Ordering::Relaxed);
        self.longest.ns.store(ns, Ordering::Relaxed);
        self.longest.turn.store(turn, Ordering::Relaxed);
    }

    /// Turns that take longer are counted.
    pub fn set_long_turn_ns(&self, ns: u64) {
        self.long_turn_ns.store(ns, Ordering::Relaxed);
    }

    /// From now on every mark is stamped.
    pub fn start_stamps(&self) {
        self.stamps.get_or_init(|| Box::new(Stamps::new()));
        self.is_stamping.store(true, Ordering::Release);
    }

    pub fn stage(&self) -> Stage {
        Stage::of(self.stage.load(Ordering::Relaxed))
    }

    pub fn session(&self) -> Option<TracedSession> {
        unpack(self.session.load(Ordering::Relaxed))
    }

    /// `None` before the first turn that did something.
    pub fn longest(&self) -> Option<LongestTurn> {
        let turn = self.longest.turn.load(Ordering::Relaxed);
        let stage = self.longest.stage.load(Ordering::Relaxed).checked_sub(1).map(Stage::of);
        let session = unpack(self.longest.session.load(Ordering::Relaxed));
        let ns = self.longest.ns.load(Ordering::Relaxed);
        (turn > 0).then(|| LongestTurn { turn, ns, blame: stage.map(|stage| (stage, session)) })
    }

    /// What the stamps have counted; `None` before [`WorkerTrace::start_stamps`].
    pub fn stamps(&self) -> Option<&Stamps> {
        self.stamps.get().map(|stamps| &**stamps)
    }

    #[cold]
    fn stamp(&self, next: Stage) {
        if let Some(stamps) = self.stamps.get() {
            stamps.mark(self.stage(), self.session.load(Ordering::Relaxed), next, ticks());
        }
    }
}

/// 0 for none.
#[inline]
fn pack(session: Option<TracedSession>) -> u64 {
    session.map_or(0, |(journal, number)| 1 << 63 | u64::from(journal) << 32 | u64::from(number))
}

fn unpack(packed: u64) -> Option<TracedSession> {
    (packed >> 63 == 1).then_some(((packed >> 32) as u16, packed as u32))
}

/// What the stamps count, in ticks.
///
/// Figures by message are of turns that received exactly one and sent something: with several in a turn no stage's time
/// could be told to one of them. How many turns that leaves out is counted.
#[derive(Debug)]
pub struct Stamps {
    began: Instant,
    began_ticks: u64,
    /// The last mark; 0 before the first.
    last: AtomicU64,
    spent: [AtomicU64; STAGES.len()],
    messages: AtomicU64,
    sends: AtomicU64,
    /// When bytes had come in this turn, and when the first were given to the operating system; 0 for not yet.
    received: AtomicU64,
    sent: AtomicU64,
    /// The longest stretch since the turn began.
    longest_stretch: AtomicU64,
    longest_stage: AtomicU8,
    longest_session: AtomicU64,
    /// The same of the turn before.
    last_stage: AtomicU8,
    last_session: AtomicU64,
    by_stage: [Distribution; STAGES.len()],
    own_share: Distribution,
    totals: [Counter; STAGES.len()],
    left_out: Counter,
}

impl Stamps {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            began_ticks: ticks(),
            last: AtomicU64::new(0),
            spent: Default::default(),
            messages: AtomicU64::new(0),
            sends: AtomicU64::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            longest_stretch: AtomicU64::new(0),
            longest_stage: AtomicU8::new(0),
            longest_session: AtomicU64::new(0),
            last_stage: AtomicU8::new(0),
            last_session: AtomicU64::new(0),
            by_stage: Default::default(),
            own_share: Distribution::default(),
            totals: Default::default(),
            left_out: Counter::default(),
        }
    }

    /// Of one stage, a message.
    pub fn stage(&self, stage: Stage) -> &Distribution {
        &self.by_stage[stage as usize]
    }

    /// From the bytes received until the first are given to the operating system.
    pub fn own_share(&self) -> &Distribution {
        &self.own_share
    }

    /// Turns with messages that the figures by message leave out.
    pub fn turns_left_out(&self) -> u64 {
        self.left_out.value()
    }

    /// All that was spent in a stage, whether or not there was a message.
    pub fn total_ns(&self, stage: Stage) -> u64 {
        (self.totals[stage as usize].value() as f64 * self.ns_per_tick()) as u64
    }

    /// By the time since the stamps began: the longer that is, the better it is known.
    pub fn ns_per_tick(&self) -> f64 {
        let ticks = ticks().saturating_sub(self.began_ticks);
        self.began.elapsed().as_nanos() as f64 / ticks.max(1) as f64
    }

    fn mark(&self, stage: Stage, session: u64, next: Stage, now: u64) {
        let get = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        let set = |cell: &AtomicU64, value: u64| cell.store(value, Ordering::Relaxed);
        let last = get(&self.last);
        set(&self.last, now);
        if last != 0 {
            let spent = now.saturating_sub(last);
            set(&self.spent[stage as usize], get(&self.spent[stage as usize]) + spent);
            self.totals[stage as usize].add(spent);
            if spent >= get(&self.longest_stretch) && stage != Stage::Sleep {
                set(&self.longest_stretch, spent);
                self.longest_stage.store(stage as u8, Ordering::Relaxed);
                set(&self.longest_session, session);
            }
        }
        match next {
            Stage::Frame if stage == Stage::Receive && get(&self.received) == 0 => set(&self.received, now),
            Stage::Decode => set(&self.messages, get(&self.messages) + 1),
            Stage::Send => {
                set(&self.sends, get(&self.sends) + 1);
                if get(&self.sent) == 0 {
                    set(&self.sent, now);
                }
            }
            Stage::Turn => self.begin_turn(),
            Stage::Idle => self.end_turn(),
            _ => {}
        }
    }

    /// What came between the turns is the last one's too: it is what a message had to wait.
    fn begin_turn(&self) {
        self.last_stage.store(self.longest_stage.load(Ordering::Relaxed), Ordering::Relaxed);
        self.last_session.store(self.longest_session.load(Ordering::Relaxed), Ordering::Relaxed);
        self.longest_stretch.store(0, Ordering::Relaxed);
        for cell in [&self.messages, &self.sends, &self.received, &self.sent].into_iter().chain(&self.spent) {
            cell.store(0, Ordering::Relaxed);
        }
    }

    fn end_turn(&self) {
        let get = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        let (received, sent) = (get(&self.received), get(&self.sent));
        match get(&self.messages) {
            0 => {}
            1 if received != 0 && sent != 0 => {
                self.own_share.record(sent.saturating_sub(received));
                for (distribution, spent) in self.by_stage.iter().zip(&self.spent) {
                    distribution.record(get(spent));
                }
            }
            _ => self.left_out.add(1),
        }
    }
}

/// In so many steps each power of two is divided: a value is known to a 32nd.
const STEPS: u64 = 32;
const STEPS_LOG2: u32 = STEPS.trailing_zeros();

/// How often which value came. One writer; all memory is there from the start.
#[derive(Debug)]
pub struct Distribution(Box<[Counter]>);

impl Default for Distribution {
    fn default() -> Self {
        let steps = (u64::BITS - STEPS_LOG2 + 1) as usize * STEPS as usize;
        Self((0..steps).map(|_| Counter::default()).collect())
    }
}

impl Distribution {
    fn record(&self, value: u64) {
        self.0[Self::step(value)].add(1);
    }

    pub fn count(&self) -> u64 {
        self.0.iter().map(Counter::value).sum()
    }

    /// The value that so large a part of all do not exceed; 0 where there are none.
    pub fn quantile(&self, quantile: f64) -> u64 {
        let wanted = (self.count() as f64 * quantile).ceil().max(1.0) as u64;
        let mut seen = 0;
        let step = self.0.iter().position(|counter| {
            seen += counter.value();
            seen >= wanted
        });
        step.map_or(0, Self::greatest)
    }

    fn step(value: u64) -> usize {
        if value < STEPS {
            return value as usize;
        }
        let shift = value.ilog2() - STEPS_LOG2;
        (u64::from(shift + 1) * STEPS + (value >> shift) - STEPS) as usize
    }

    /// The greatest value of a step.
    fn greatest(step: usize) -> u64 {
        let step = step as u64;
        if step < STEPS {
            return step;
        }
        let shift = step / STEPS - 1;
        let begin = (step % STEPS + STEPS) << shift;
        begin + ((1 << shift) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_listed_in_the_order_of_their_numbers_with_names_of_their_own() {
        for (number, stage) in STAGES.iter().enumerate() {
            assert_eq!(*stage as usize, number);
            assert_eq!(STAGES.iter().filter(|other| other.name() == stage.name()).count(), 1);
        }
    }

    #[test]
    fn a_distribution_knows_every_value_to_a_thirty_second() {
        for value in (0..200).chain((0..58).map(|power| (1 << power) + 12_345)).chain([u64::MAX]) {
            let greatest = Distribution::greatest(Distribution::step(value));
            assert!(greatest >= value && greatest - value <= value / 32, "{value}: {greatest}");
        }
        let distribution = Distribution::default();
        assert_eq!(distribution.quantile(0.5), 0);
        (1..=100).for_each(|value| distribution.record(value * 1_000));
        assert_eq!(distribution.count(), 100);
        assert!((49_000..=52_000).contains(&distribution.quantile(0.5)));
        assert!((98_000..=103_000).contains(&distribution.quantile(0.99)));
    }

    #[test]
    fn a_turn_with_one_message_is_told_by_stages_and_one_with_two_is_left_out() {
        let stamps = Stamps::new();
        let turn = |at: u64, messages: &[u64]| {
            let mut marks = vec![(Stage::Idle, Stage::Turn, at), (Stage::Turn, Stage::Receive, at + 10)];
            marks.push((Stage::Receive, Stage::Frame, at + 110));
            for message in messages {
                marks.push((Stage::Frame, Stage::Decode, message + 5));
                marks.push((Stage::Decode, Stage::Application, message + 8));
                marks.push((Stage::Application, Stage::Frame, message + 20));
            }
            marks.push((Stage::Frame, Stage::Send, at + 200));
            marks.push((Stage::Send, Stage::Idle, at + 500));
            marks.into_iter().for_each(|(stage, next, now)| stamps.mark(stage, pack(Some((1, 7))), next, now));
        };
        turn(1_000, &[1_110]);
        assert_eq!(stamps.stage(Stage::Decode).quantile(0.5), 3);
        assert_eq!(stamps.stage(Stage::Application).quantile(0.5), 12);
        assert_eq!(stamps.own_share().count(), 1);
        assert_eq!(stamps.own_share().quantile(0.5), Distribution::greatest(Distribution::step(90)));
        turn(2_000, &[2_110, 2_130]);
        assert_eq!((stamps.own_share().count(), stamps.turns_left_out()), (1, 1));
        // To be told at the end of the next turn: the longest stretch of this one was the send.
        stamps.mark(Stage::Idle, 0, Stage::Turn, 2_510);
        assert_eq!(stamps.last_stage.load(Ordering::Relaxed), Stage::Send as u8);
        assert_eq!(unpack(stamps.last_session.load(Ordering::Relaxed)), Some((1, 7)));
    }

    #[test]
    fn the_longest_turn_is_kept_with_its_blame_where_stamps_are_on() {
        let (trace, counters) = (WorkerTrace::default(), WorkerCounters::default());
        trace.set_long_turn_ns(1_000);
        trace.took(&counters, 3, 1_000);
        assert_eq!(trace.longest(), Some(LongestTurn { turn: 3, ns: 1_000, blame: None }));
        trace.start_stamps();
        trace.begin_turn();
        trace.of(0, 5);
        trace.at(Stage::Application);
        assert_eq!((trace.stage(), trace.session()), (Stage::Application, Some((0, 5))));
        trace.at(Stage::Idle);
        trace.begin_turn();
        trace.took(&counters, 4, 5_000_000);
        trace.took(&counters, 5, 4_000_000);
        let longest = trace.longest().unwrap();
        assert_eq!((longest.turn, longest.ns), (4, 5_000_000));
        assert_eq!(counters.long_turns.value(), 2);
        assert!(longest.blame.is_some());
        assert_eq!(trace.session(), None);
    }
}
