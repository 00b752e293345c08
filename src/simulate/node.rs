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
use crate::engine::{
    Adopted, Directory, Environment, Event, Limits, Mailbox, ResolveRequest, StartError, Worker, events, restore,
};
use crate::fix::UtcTimestamp;
use crate::journal::simulated::SimulatedStorage;
use crate::journal::{
    FlushMethod, Flusher, Geometry, RecoveredSession, RecoveryReport, Recycling, Rollback, Settings, Stager, open_over,
    prepare,
};
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

    pub fn elapsed_ns(&self) -> u64 {
        self.0.get()
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
    /// By journal. Empty where the machine has no rings.
    pub keepers: Vec<RingKeeper>,
    /// Rings that were lost, and may be found again when they are of no use any more.
    stale: Vec<RingKeeper>,
    directory: Arc<Directory>,
    listen: Vec<SocketAddr>,
    /// While set, nothing is read from any connection.
    pub stalled: Rc<Cell<bool>>,
    /// While set, no connection is accepted.
    pub accept_fails: Rc<Cell<bool>>,
    /// While set, nothing leaves.
    pub muted: Rc<Cell<bool>>,
    /// The rings are files on the volume: a pod's death leaves them.
    pub rings_on_volume: bool,
}

/// An engine while it lives.
pub struct Running<A: Application> {
    pub worker: Worker<Tapped, A>,
    pub journals: Vec<Carried>,
    pub shared: Arc<Shared>,
    pub incarnation: u32,
    host: Host,
    events: rtrb::Consumer<Event>,
    /// Kept so that the worker's ends do not see them abandoned. Endpoints are addresses here: nothing is resolved.
    _mail: (rtrb::Consumer<ResolveRequest>, rtrb::Producer<crate::engine::Resolved>),
}

/// What housekeeping has of one journal, and what recovery found in it.
pub struct Carried {
    pub flusher: Flusher<SimulatedStorage>,
    pub stager: Stager<SimulatedStorage>,
    pub recycling: Arc<Recycling>,
    pub report: RecoveryReport,
    /// By session number.
    pub recovered: Vec<RecoveredSession>,
    /// What this start has found lost, by session number.
    pub rollbacks: Vec<(u32, Rollback)>,
}

impl Node {
    pub fn new(config: Config) -> Self {
        Self::with_journals(config, 1)
    }

    pub fn with_journals(config: Config, journals: u16) -> Self {
        let persistence = &config.persistence;
        let geometry = Geometry {
            journals,
            ring_bytes: persistence.ring_bytes,
            segment_bytes: persistence.segment_bytes,
            segments: persistence.segments,
        };
        let settings = Settings {
            data_dir: "simulated".into(),
            ring_dir: "simulated".into(),
            geometry,
            flush_interval_ns: persistence.flush_interval.as_nanos() as u64,
            flush_interval_min_ns: 0,
            flush_method: FlushMethod::default().into(),
            message_bytes_max: config.engine.message_bytes_max,
            resend_messages_max: 50,
            clock: || 0,
        };
        let listen = if config.acceptors.is_empty() { Vec::new() } else { vec![config.acceptors[0].listen] };
        Self {
            storage: SimulatedStorage::new(geometry),
            directory: Arc::new(Directory::new(&config)),
            config,
            settings,
            keepers: Vec::new(),
            stale: Vec::new(),
            listen,
            stalled: Rc::default(),
            accept_fails: Rc::default(),
            muted: Rc::default(),
            rings_on_volume: false,
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
            pending_connections_per_address_max: engine.pending_connections_per_address_max,
            template_sessions_max: engine.template_sessions_max,
            logon_timeout_ns: ns(engine.logon_timeout),
            probe_timeout_ns: ns(engine.probe_timeout),
            stop_timeout_ns: ns(engine.logout_timeout),
            retention_age_ns: self.config.persistence.retention_age.map_or(0, ns),
            retention_min_ns: ns(self.config.persistence.retention_min),
            retention_undelivered_max_ns: ns(self.config.persistence.retention_undelivered_max),
        }
    }

    /// Recovers and starts. `host` must be a new one each time. Where an injected fault came first, the attempt has died, and
    /// what it has done stays done.
    pub fn start<A: Application>(
        &mut self,
        now: Now,
        network: &SimulatedNetwork,
        wire: &Wire,
        host: Host,
        mut make: impl FnMut(Environment) -> A,
    ) -> Result<Running<A>, StartError> {
        let rings = self.rings();
        let manifest = prepare(&self.storage, &self.settings).map_err(StartError::Journal)?;
        let opened = open_over(&self.storage, manifest, rings, &self.settings).map_err(StartError::Journal)?;
        let count = self.settings.geometry.journals;
        let snapshot_bytes_max = self.settings.geometry.snapshot_bytes_max() as u32;
        let message_bytes_max = self.config.engine.message_bytes_max;
        let incarnation = opened.incarnation;
        let shared = Shared::new(1, usize::from(count));
        let (mut adopted, mut journals) = (Vec::new(), Vec::new());
        for journal in opened.journals {
            let number = journal.number;
            let mut application = make(Environment { journal: number, incarnation, snapshot_bytes_max });
            restore(&mut application, &journal.recovered, message_bytes_max).map_err(|error| match error {
                Ok(error) => StartError::Application { journal: number, error },
                Err(error) => StartError::Storage(error),
            })?;
            let report = journal.recovered.report.clone();
            let fresh = journal.recovered.rollbacks.iter().filter(|placed| placed.position == report.end);
            journals.push(Carried {
                flusher: journal.flusher,
                stager: journal.stager,
                recycling: journal.recycling,
                rollbacks: fresh.map(|placed| (placed.session, placed.rollback)).collect(),
                report,
                recovered: journal.recovered.sessions.clone(),
            });
            adopted.push(Adopted {
                number,
                writer: journal.writer,
                incarnation,
                application,
                sessions: journal.recovered.sessions,
                staging: journal.stager_port,
                counters: shared.journal(usize::from(number)),
            });
        }
        let (sink, ring_of_events) = events(shared.worker(0));
        let (resolve, requests) = rtrb::RingBuffer::new(16);
        let (answers, resolved) = rtrb::RingBuffer::new(16);
        let mailbox = Mailbox { events: sink, resolve, resolved, hand_over_to: vec![None], handed_over: Vec::new() };
        let (stalled, accept_fails) = (Rc::clone(&self.stalled), Rc::clone(&self.accept_fails));
        let network = network.transport(host, &self.listen);
        let transport = Tapped::new(network, wire.clone(), stalled, accept_fails, Rc::clone(&self.muted));
        let worker = Worker::new(
            0,
            transport,
            adopted,
            vec![0; usize::from(count)],
            Arc::clone(&self.directory),
            Arc::clone(&shared),
            self.limits(),
            mailbox,
            shared.worker(0),
            now,
        );
        let _mail = (requests, answers);
        Ok(Running { worker, journals, shared, incarnation, host, events: ring_of_events, _mail })
    }

    /// The rings as the engine before has left them, or new ones.
    fn rings(&mut self) -> Vec<RingMemory> {
        if !self.keepers.is_empty() {
            return self.keepers.iter().map(|keeper| keeper.open().expect("the engine before is gone")).collect();
        }
        let Geometry { journals, ring_bytes, .. } = self.settings.geometry;
        let rings = (0..journals).map(|_| RingMemory::anonymous(ring_bytes).expect("memory for a ring"));
        let (rings, keepers) = rings.unzip();
        self.keepers = keepers;
        rings
    }

    /// The machine loses what this kind of crash takes. No engine runs on it. The number of pages that were torn.
    pub fn lose(&mut self, crash: Crash, random: &mut fastrand::Rng) -> u64 {
        match crash {
            Crash::Process => self.storage.crash_process(),
            Crash::Pod => {
                self.storage.crash_process();
                if !self.rings_on_volume {
                    self.lose_rings(random);
                }
            }
            Crash::Node => {
                self.lose_rings(random);
                return self.storage.crash_node(random);
            }
        }
        0
    }

    /// A pod that comes back to where it has been before may find the rings of that time.
    fn lose_rings(&mut self, random: &mut fastrand::Rng) {
        let lost = std::mem::take(&mut self.keepers);
        if random.u8(..8) == 0 {
            self.keepers = std::mem::take(&mut self.stale);
        }
        if !lost.is_empty() && random.u8(..4) == 0 {
            self.stale = lost;
        }
    }

    /// The engine ends at once, and with it what the kind of crash takes.
    pub fn crash<A: Application>(
        &mut self,
        running: Running<A>,
        network: &SimulatedNetwork,
        crash: Crash,
        random: &mut fastrand::Rng,
    ) -> u64 {
        network.crash(running.host);
        drop(running);
        self.lose(crash, random)
    }
}

impl<A: Application> Running<A> {
    /// One turn of each part.
    pub fn turn(&mut self, now: Now) {
        self.worker.turn(now, None);
        for journal in &mut self.journals {
            journal.flusher.turn(now.monotonic_ns).expect("a sound volume");
            journal.stager.turn().expect("a sound volume");
        }
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
