//! The engine under attack: two workers with a journal each, over one simulated network and volume.

use std::sync::Arc;

use super::choices::Choices;
use crate::application::Exchange;
use crate::config::Config;
use crate::control::{PublishedState, Shared};
use crate::engine::{Adopted, Directory, HandOver, Mailbox, ResolveRequest, Resolved, Told, Worker, events};
use crate::journal::simulated::SimulatedStorage;
use crate::journal::{Flusher, Stager, open_over, prepare};
use crate::session::Now;
use crate::simulate::Node;
use crate::sys::ring::RingMemory;
use crate::transport::Transport;
use crate::transport::simulated::{Host, SimulatedNetwork, SimulatedTransport};

pub const LISTEN: &str = "10.0.0.1:9880";
/// Where the engine's initiators dial: a hostile venue and an honest one.
pub const VENUES: [&str; 2] = ["10.0.0.8:9880", "10.0.0.9:9880"];
/// Fewer than the hostile peers would have, if they could.
pub const CONNECTIONS_MAX: u32 = 16;

const WORKERS: u32 = 2;
/// Connections that wait between two workers, at most.
const HAND_OVERS_MAX: usize = 4;
const MODES: [&str; 3] = ["buffered", "flush", "sync"];

pub type Detached = <SimulatedTransport as Transport>::Detached;

pub struct Engine {
    pub workers: Vec<Worker<SimulatedTransport, Exchange>>,
    journals: Vec<(Flusher<SimulatedStorage>, Stager<SimulatedStorage>)>,
    pub shared: Arc<Shared>,
    events: Vec<rtrb::Consumer<Told>>,
    /// Kept so that the workers' ends do not see them abandoned.
    _mail: Vec<(rtrb::Consumer<ResolveRequest>, rtrb::Producer<Resolved>)>,
}

impl Engine {
    pub fn new(choices: &mut Choices, now: Now, network: &SimulatedNetwork) -> Self {
        let node = Node::with_journals(config(choices), WORKERS as u16);
        let manifest = prepare(&node.storage, &node.settings).expect("a sound volume");
        let rings = (0..WORKERS).map(|_| RingMemory::anonymous(node.settings.geometry.ring_bytes).expect("memory").0);
        let opened = open_over(&node.storage, manifest, rings.collect(), &node.settings).expect("a sound volume");
        let shared = Shared::new(WORKERS as usize, WORKERS as usize);
        let directory = Arc::new(Directory::new(&node.config));
        let mut hand_overs = HandOvers::new();
        let mut engine =
            Self { workers: Vec::new(), journals: Vec::new(), shared, events: Vec::new(), _mail: Vec::new() };
        for (number, journal) in (0..WORKERS).zip(opened.journals) {
            let (sink, told) = events(engine.shared.worker(number as usize));
            let (resolve, requests) = rtrb::RingBuffer::new(16);
            let (answers, resolved) = rtrb::RingBuffer::new(16);
            let (hand_over_to, handed_over) = hand_overs.of(number);
            let listens = [LISTEN.parse().expect("an address")];
            let transport = network.transport(Host(number), if number == 0 { &listens } else { &[] });
            let adopted = Adopted {
                number: journal.number,
                writer: journal.writer,
                incarnation: opened.incarnation,
                application: Exchange::new(node.settings.geometry.snapshot_bytes_max() as u32),
                sessions: journal.recovered.sessions,
                staging: journal.stager_port,
                counters: engine.shared.journal(usize::from(journal.number)),
            };
            engine.workers.push(Worker::new(
                number,
                transport,
                vec![adopted],
                (0..WORKERS).collect(),
                Arc::clone(&directory),
                Arc::clone(&engine.shared),
                node.limits(),
                Mailbox { events: sink, resolve, resolved, hand_over_to, handed_over },
                engine.shared.worker(number as usize),
                now,
            ));
            engine.journals.push((journal.flusher, journal.stager));
            engine.events.push(told);
            engine._mail.push((requests, answers));
        }
        engine
    }

    pub fn work(&mut self, number: usize, now: Now) {
        self.workers[number].turn(now, None);
        while self.events[number].pop().is_ok() {}
    }

    pub fn glance(&mut self, number: usize, now: Now) {
        self.workers[number].glance(now);
    }

    pub fn flush(&mut self, number: usize, now: Now) {
        self.journals[number].0.turn(now.monotonic_ns).expect("a sound volume");
    }

    pub fn stage(&mut self, number: usize) {
        self.journals[number].1.turn().expect("a sound volume");
    }

    pub fn turn_all(&mut self, now: Now) {
        for number in 0..WORKERS as usize {
            self.work(number, now);
            self.flush(number, now);
            self.stage(number);
        }
    }

    /// What the session would take next, as the counters say; for a peer that wants to be taken seriously.
    pub fn next_in(&self, name: &str) -> u64 {
        self.session(name).map_or(1, |(_, next_in)| next_in.max(1))
    }

    pub fn is_established(&self, name: &str) -> bool {
        self.session(name).is_some_and(|(state, _)| state == PublishedState::Established as u64)
    }

    fn session(&self, name: &str) -> Option<(u64, u64)> {
        let sessions = self.shared.sessions.sessions();
        let session = sessions.iter().find(|session| session.name == name)?;
        Some((session.counters.state.value(), session.counters.next_in.value()))
    }
}

/// The rings between each worker and each other.
struct HandOvers {
    senders: Vec<Vec<Option<rtrb::Producer<HandOver<Detached>>>>>,
    receivers: Vec<Vec<rtrb::Consumer<HandOver<Detached>>>>,
}

impl HandOvers {
    fn new() -> Self {
        let mut receivers: Vec<Vec<_>> = (0..WORKERS).map(|_| Vec::new()).collect();
        let mut senders = Vec::new();
        for from in 0..WORKERS {
            let ring_to = |to: u32| {
                (to != from).then(|| {
                    let (sender, receiver) = rtrb::RingBuffer::new(HAND_OVERS_MAX);
                    receivers[to as usize].push(receiver);
                    sender
                })
            };
            senders.push((0..WORKERS).map(ring_to).collect());
        }
        Self { senders, receivers }
    }

    #[allow(clippy::type_complexity, reason = "as the mailbox has it")]
    fn of(
        &mut self,
        worker: u32,
    ) -> (Vec<Option<rtrb::Producer<HandOver<Detached>>>>, Vec<rtrb::Consumer<HandOver<Detached>>>) {
        let at = worker as usize;
        (std::mem::take(&mut self.senders[at]), std::mem::take(&mut self.receivers[at]))
    }
}

/// Two hostile and two honest counterparties, one of each a worker; a template; and the initiators.
fn config(choices: &mut Choices) -> Config {
    let mut text = format!(
        "[engine]\nmessage_bytes_max = \"2KiB\"\ncommit_bytes_max = \"8KiB\"\nconnections_max = {CONNECTIONS_MAX}\n\
         pending_connections_max = 8\npending_connections_per_address_max = 8\ntemplate_sessions_max = 3\nlogon_timeout = \"1s\"\nlogout_timeout = \"500ms\"\n\
         probe_timeout = \"200ms\"\n[persistence]\nmode = \"{}\"\nring_bytes = \"64KiB\"\nsegment_bytes = \"128KiB\"\n\
         segments = 8\nretention_min = \"0s\"\nretention_undelivered_max = \"0s\"\n[control]\nlisten = \"off\"\n[[acceptor]]\nlisten = \"{LISTEN}\"\n",
        choices.of(&MODES),
    );
    for (name, journal) in [("BAD0", 0), ("BAD1", 1), ("GOOD0", 0), ("GOOD1", 1)] {
        text += &session(choices, "VENUE", name, journal);
    }
    text += "[[session]]\nbegin_string = \"FIX.4.4\"\nsender_comp_id = \"HALL\"\ntarget_comp_id = \"*\"\nheld_bytes_max = \"4KiB\"\n";
    for (name, journal, venue) in [("THEM0", 0, VENUES[0]), ("THEM1", 1, VENUES[1])] {
        text += &session(choices, "US", name, journal);
        text += &format!(
            "role = \"initiator\"\nheartbeat_seconds = 3600\nconnect = [\"{venue}\"]\nreconnect_min = \"5ms\"\n\
             reconnect_max = \"20ms\"\n"
        );
    }
    Config::parse(&text, "hostile").unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn session(choices: &mut Choices, sender: &str, target: &str, journal: u32) -> String {
    let next_expected = choices.one_in(2);
    let resets = *choices.of(&["", "", "reset_on_logout = true\n", "reset_on_disconnect = true\n"]);
    // An honest counterparty keeps its numbers.
    let resets = if target.starts_with("BAD") { resets } else { "" };
    format!(
        "[[session]]\nbegin_string = \"FIX.4.4\"\nsender_comp_id = \"{sender}\"\ntarget_comp_id = \"{target}\"\n\
         journal = {journal}\nmode = \"{}\"\nheld_messages_max = 4\nheld_bytes_max = \"4KiB\"\n\
         next_expected_msg_seq_num = {next_expected}\n{resets}",
        choices.of(&MODES),
    )
}
