//! Whole engines in one thread: a worker, a flusher and a stager over a simulated volume, network and clock.
//!
//! A [`Node`] is a machine that an engine runs on: what survives the engine's end (volume, ring) belongs to it, what does not
//! is its [`Running`]. Nothing here decides what to check, see [`super::wire`] for what the network saw.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use super::wire::{Tapped, Wire};
use crate::application::Application;
use crate::config::Config;
use crate::control::{PublishedState, Shared};
use crate::engine::{Adopted, Directory, Environment, Event, Limits, Mailbox, ResolveRequest, Worker, events, restore};
use crate::fix::UtcTimestamp;
use crate::journal::simulated::SimulatedStorage;
use crate::journal::{Flusher, Geometry, RecoveredSession, RecoveryReport, Settings, Stager, open_over, prepare};
use crate::session::Now;
use crate::sys::ring::{RingKeeper, RingMemory};
use crate::transport::simulated::{Host, SimulatedNetwork};

/// 2026-01-05 00:00:00 UTC, a Monday.
const START_UNIX_NS: u64 = 1_767_571_200_000_000_000;

/// The clock of the whole world, in ns since its start.
#[derive(Clone, Default)]
pub struct VirtualClock(Rc<Cell<u64>>, Rc<Cell<i64>>);

impl VirtualClock {
    pub fn now(&self) -> Now {
        let ns = self.0.get();
        // A monotonic clock does not begin at zero either.
        Now {
            monotonic_ns: 1_000_000_000 + ns,
            utc: UtcTimestamp::from_unix_ns((START_UNIX_NS + ns).saturating_add_signed(self.1.get())),
        }
    }

    pub fn advance(&self, ns: u64) {
        self.0.set(self.0.get() + ns);
    }

    /// Somebody sets the wall clock.
    pub fn set_forward(&self, ns: i64) {
        self.1.set(self.1.get() + ns);
    }
}

/// What a crash takes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Crash {
    /// The ring is kept.
    Process,
    /// The ring is lost; the operating system has what was written.
    Pod,
    /// Of what was not synced, any part may be lost.
    Node,
}

/// A machine with its volume and its ring.
pub struct Node {
    pub config: Config,
    pub settings: Settings,
    pub storage: SimulatedStorage,
    keeper: Option<RingKeeper>,
    listen: Vec<SocketAddr>,
    /// While set, nothing is read from any connection.
    pub stalled: Rc<Cell<bool>>,
    /// While set, no connection is accepted.
    pub accept_fails: Rc<Cell<bool>>,
}

/// An engine while it lives.
pub struct Running<A: Application> {
    pub worker: Worker<Tapped, A>,
    pub flusher: Flusher<SimulatedStorage>,
    pub stager: Stager<SimulatedStorage>,
    pub shared: Arc<Shared>,
    pub report: RecoveryReport,
    /// What recovery found, by session number.
    pub recovered: Vec<RecoveredSession>,
    pub incarnation: u32,
    host: Host,
    events: rtrb::Consumer<Event>,
    /// Kept so that the worker's ends do not see them abandoned. Endpoints are addresses here: nothing is resolved.
    _mail: (rtrb::Consumer<ResolveRequest>, rtrb::Producer<crate::engine::Resolved>),
}

impl Node {
    pub fn new(config: Config) -> Self {
        let persistence = &config.persistence;
        let geometry = Geometry {
            journals: 1,
            ring_bytes: persistence.ring_bytes,
            segment_bytes: persistence.segment_bytes,
            segments: persistence.segments,
        };
        let settings = Settings {
            data_dir: "simulated".into(),
            ring_dir: "simulated".into(),
            geometry,
            flush_interval_ns: persistence.flush_interval.as_nanos() as u64,
            message_bytes_max: config.engine.message_bytes_max,
            resend_messages_max: 50,
            clock: || 0,
        };
        let listen = if config.acceptors.is_empty() { Vec::new() } else { vec![config.acceptors[0].listen] };
        Self {
            storage: SimulatedStorage::new(geometry),
            config,
            settings,
            keeper: None,
            listen,
            stalled: Rc::default(),
            accept_fails: Rc::default(),
        }
    }

    pub fn limits(&self) -> Limits {
        let engine = &self.config.engine;
        let ns = |duration: std::time::Duration| duration.as_nanos() as u64;
        Limits {
            message_bytes_max: engine.message_bytes_max,
            commit_bytes_max: engine.commit_bytes_max,
            connections_max: engine.connections_max,
            pending_connections_max: engine.pending_connections_max,
            template_sessions_max: engine.template_sessions_max,
            logon_timeout_ns: ns(engine.logon_timeout),
            probe_timeout_ns: ns(engine.probe_timeout),
            stop_timeout_ns: ns(engine.logout_timeout),
        }
    }

    /// Recovers and starts. `host` must be a new one each time. `None` where an injected storage error came first; then the
    /// attempt has died, and what it has done stays done.
    pub fn start<A: Application>(
        &mut self,
        now: Now,
        network: &SimulatedNetwork,
        wire: &Wire,
        host: Host,
        make: impl FnOnce(Environment) -> A,
    ) -> Option<Running<A>> {
        let ring = match &self.keeper {
            Some(keeper) => keeper.open().expect("the engine before is gone"),
            None => {
                let (ring, keeper) =
                    RingMemory::anonymous(self.settings.geometry.ring_bytes).expect("memory for a ring");
                self.keeper = Some(keeper);
                ring
            }
        };
        let opened = prepare(&self.storage, &self.settings)
            .and_then(|manifest| open_over(&self.storage, manifest, vec![ring], &self.settings));
        let Ok(mut opened) = opened else {
            self.storage.crash_process();
            return None;
        };
        let journal = opened.journals.pop().expect("one journal");
        let snapshot_bytes_max = (journal.writer.geometry().commit_bytes_max() / 2) as u32;
        let mut application = make(Environment { journal: 0, incarnation: opened.incarnation, snapshot_bytes_max });
        let message_bytes_max = self.config.engine.message_bytes_max;
        restore(&mut application, &journal.recovered, message_bytes_max).expect("what the application wrote");
        let shared = Shared::new(1, 1);
        let (sink, ring_of_events) = events();
        let (resolve, requests) = rtrb::RingBuffer::new(16);
        let (answers, resolved) = rtrb::RingBuffer::new(16);
        let mailbox = Mailbox { events: sink, resolve, resolved, hand_over_to: vec![None], handed_over: Vec::new() };
        let recovered = journal.recovered.sessions.clone();
        let report = journal.recovered.report.clone();
        let adopted = Adopted {
            number: 0,
            writer: journal.writer,
            incarnation: opened.incarnation,
            application,
            sessions: journal.recovered.sessions,
            staging: journal.stager_port,
            counters: shared.journal(0),
        };
        let (stalled, accept_fails) = (Rc::clone(&self.stalled), Rc::clone(&self.accept_fails));
        let transport = Tapped::new(network.transport(host, &self.listen), wire.clone(), stalled, accept_fails);
        let worker = Worker::new(
            0,
            transport,
            vec![adopted],
            vec![0],
            Arc::new(Directory::new(&self.config)),
            Arc::clone(&shared),
            self.limits(),
            mailbox,
            shared.worker(0),
            now,
        );
        Some(Running {
            worker,
            flusher: journal.flusher,
            stager: journal.stager,
            shared,
            report,
            recovered,
            incarnation: opened.incarnation,
            host,
            events: ring_of_events,
            _mail: (requests, answers),
        })
    }

    /// The engine ends at once, and with it what the kind of crash takes.
    pub fn crash<A: Application>(
        &mut self,
        running: Running<A>,
        network: &SimulatedNetwork,
        crash: Crash,
        random: &mut fastrand::Rng,
    ) {
        network.crash(running.host);
        drop(running);
        match crash {
            Crash::Process => self.storage.crash_process(),
            Crash::Pod => {
                self.storage.crash_process();
                self.keeper = None;
            }
            Crash::Node => {
                self.storage.crash_node(random);
                self.keeper = None;
            }
        }
    }
}

impl<A: Application> Running<A> {
    /// One turn of each part.
    pub fn turn(&mut self, now: Now) {
        self.worker.turn(now, None);
        self.flusher.turn(now.monotonic_ns).expect("a sound volume");
        self.stager.turn().expect("a sound volume");
    }

    /// What the engine has told since the last call.
    pub fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.events.pop().ok()).collect()
    }

    /// Session 0 and so on are established.
    pub fn all_established(&self) -> bool {
        let sessions = self.shared.sessions.sessions();
        sessions.iter().all(|session| session.counters.state.value() == PublishedState::Established as u64)
    }
}
