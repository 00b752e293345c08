//! Cuts the power of a virtual machine that runs the engine, again and again, and compares what the client outside was told
//! with what the medium holds. `scripts/power-cut` builds the machine and calls this; the README beside it explains both.
//!
//! `--seed` decides when each cut comes and what survives it; how far the engine is at that moment is the emulator's and
//! the kernel's to decide.

mod disk;
mod evidence;
mod machine;
mod nbd;

#[path = "../kill/client.rs"]
mod client;
#[path = "../kill/wire.rs"]
mod wire;

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;

use client::Client;
use disk::{Counts, Cut, Disk, Fault, Survival};
use evidence::Held;
use machine::{Blueprint, DEADLINE, Machine, Told};
use wire::Party;

const PARTY: Party = Party { begin_string: "FIX.4.4", sender: "DESK", target: "VENUE" };
/// Orders without an answer at a time, at most: behind a disk that hangs the client waits.
const WINDOW: u64 = 64;
/// What a boot takes until one has been seen.
const BOOT_AT_FIRST: Duration = Duration::from_secs(5);
/// How long an engine goes on, at most, once its disk fails: it writes with every order.
const ENDING_MAX: Duration = Duration::from_secs(30);
/// The engine's status after a storage error: `Exit::Storage`.
const STATUS_STORAGE: i32 = 4;

#[derive(Parser)]
#[command(name = "power-cut", about = "Called by scripts/power-cut, which documents the options")]
struct Options {
    #[arg(long, default_value_t = 50)]
    cuts: u32,
    #[arg(long)]
    seed: Option<u64>,
    #[arg(long, default_value = "sync")]
    mode: String,
    /// In each life; otherwise they take turns.
    #[arg(long, value_parser = FLUSH_METHODS)]
    flush_method: Option<String>,
    #[arg(long)]
    eio: bool,
    #[arg(long)]
    lying_disk: bool,
    #[arg(long)]
    must_fail: bool,
    #[arg(long, default_value = "tcg")]
    accel: String,
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..100_000))]
    rate: u32,
    #[arg(long)]
    work: PathBuf,
    #[arg(long)]
    kernel: PathBuf,
    #[arg(long)]
    initramfs: PathBuf,
    #[arg(long)]
    image: PathBuf,
}

const FLUSH_METHODS: [&str; 3] = ["fdatasync", "dsync", "msync"];

/// How long a life's flushes take.
const FLUSH_TIMES_MS: [u64; 5] = [0, 1, 3, 8, 20];

/// How long a cut waits for something that is not flushed.
const AT_STAKE_WAIT_MAX: Duration = Duration::from_millis(200);

/// When the power is cut.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// So long after it came on: the kernel boots, the volume is mounted, the engine recovers or waits.
    Booting {
        after: Duration,
    },
    /// So long after the Logon(A) went out with orders behind it: in the logon, in a resend.
    LoggingOn {
        after: Duration,
        orders: u32,
    },
    Trading {
        after: Duration,
    },
    /// The volume fails while the session trades. The engine must end; then it may be started again in the same kernel, with a
    /// disk that is well, whose page cache knows more than the medium does.
    Failing {
        after: Duration,
        trouble: Trouble,
        again: bool,
    },
    /// The volume is filled to the last byte. The engine goes on, rolls and recycles; only a start needs room.
    Full {
        after: Duration,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Trouble {
    Disk(Fault),
    /// The filesystem finds a fault of its own and turns read-only.
    ReadOnly,
}

/// One life of the machine.
struct Life {
    number: u32,
    flush_method: String,
    moment: Moment,
    counts: Counts,
    cut: Cut,
    answered: u64,
    held: Held,
    note: String,
}

struct Drill {
    options: Options,
    random: fastrand::Rng,
    disk: Arc<Disk>,
    blueprint: Blueprint,
    client: Client,
    /// From power on to ready, at last.
    boot: Duration,
    flushes: u64,
    unflushed: u64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let must_fail = options.must_fail;
    let mut drill = match Drill::new(options) {
        Ok(drill) => drill,
        Err(error) => {
            eprintln!("power-cut: {error}");
            return ExitCode::from(2);
        }
    };
    let began = Instant::now();
    // The client asserts what it is owed, message by message.
    let outcome = catch_unwind(AssertUnwindSafe(|| drill.run())).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(text.unwrap_or("a panic").to_owned())
    });
    let took = began.elapsed();
    match (&outcome, must_fail) {
        (Ok(verdict), _) => println!("\n{verdict} ({took:.0?})"),
        (Err(why), _) => println!("\nFAILED after {took:.0?}: {why}"),
    }
    match (outcome.is_ok(), must_fail) {
        (true, false) => ExitCode::SUCCESS,
        (false, true) => {
            println!("as it must: the checks see what such a disk or mode loses");
            ExitCode::SUCCESS
        }
        (true, true) => {
            println!("and that must not be: the checks saw no loss where there must have been one");
            ExitCode::FAILURE
        }
        (false, false) => ExitCode::FAILURE,
    }
}

impl Drill {
    fn new(options: Options) -> io::Result<Self> {
        let seed = options.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
        println!("power-cut: {} cuts in {} mode, --seed {seed}", options.cuts, options.mode);
        let disk = Arc::new(Disk::open(&options.image)?);
        let disk_socket = options.work.join("disk.sock");
        nbd::serve(Arc::clone(&disk), &disk_socket)?;
        let port = machine::free_port().ok_or_else(|| io::Error::other("no port is free"))?;
        let blueprint = Blueprint {
            kernel: options.kernel.clone(),
            initramfs: options.initramfs.clone(),
            disk_socket,
            port,
            mode: options.mode.clone(),
            flush_method: String::new(),
            accelerator: options.accel.clone(),
            console_log: options.work.join("console.log"),
        };
        Ok(Self {
            random: fastrand::Rng::with_seed(seed),
            disk,
            blueprint,
            client: Client::new(PARTY, port),
            boot: BOOT_AT_FIRST,
            options,
            flushes: 0,
            unflushed: 0,
        })
    }

    fn run(&mut self) -> Result<String, String> {
        println!(
            "{:>4} {:<9} {:<30} {:>7} {:>9} {:>6} {:>6} {:>6} {:>8} {:>9}  what the next start found",
            "cut", "method", "when", "flushes", "unflushed", "newest", "older", "lost", "answered", "on disk"
        );
        let mut last: Option<Life> = None;
        for number in 1..=self.options.cuts {
            self.blueprint.flush_method = self.flush_method(number);
            let moment = self.moment();
            let life = self.live(number, moment, &mut last)?;
            last = Some(life);
        }
        self.close(&mut last)
    }

    /// The one that was asked for, or each in its turn.
    fn flush_method(&self, life: u32) -> String {
        let turn = FLUSH_METHODS[life as usize % FLUSH_METHODS.len()];
        self.options.flush_method.clone().unwrap_or_else(|| turn.to_owned())
    }

    fn moment(&mut self) -> Moment {
        let random = &mut self.random;
        let seconds = Duration::from_secs_f64;
        if self.options.eio {
            let after = seconds(random.f64() * 2.0);
            let trouble = match random.u8(..7) {
                0 => Trouble::Disk(Fault::OneWrite),
                1 => Trouble::Disk(Fault::OneFlush),
                2 => Trouble::Disk(Fault::EveryWrite),
                3 => Trouble::Disk(Fault::NoSpace),
                4 => Trouble::Disk(Fault::Everything),
                5 => Trouble::ReadOnly,
                _ => return Moment::Full { after },
            };
            return Moment::Failing { after, trouble, again: random.bool() };
        }
        match random.u8(..10) {
            0..3 => Moment::Booting { after: self.boot.mul_f64(0.5 + random.f64() * 0.6) },
            3..5 => Moment::LoggingOn { after: seconds(random.f64() * 0.3), orders: random.u32(..40) },
            _ => Moment::Trading { after: seconds(random.f64() * 3.0) },
        }
    }

    /// From power on to the cut, and what the medium holds after it.
    fn live(&mut self, number: u32, moment: Moment, last: &mut Option<Life>) -> Result<Life, String> {
        let flush_time_ms = FLUSH_TIMES_MS[self.random.usize(..FLUSH_TIMES_MS.len())];
        self.disk.set_flush_time(Duration::from_millis(flush_time_ms));
        let mut machine =
            Machine::power_on(&self.blueprint).map_err(|error| format!("QEMU does not start: {error}"))?;
        let mut note = String::new();
        match moment {
            Moment::Booting { after } => self.boot_for(&mut machine, after)?,
            Moment::LoggingOn { after, orders } => {
                self.until_ready(&mut machine)?;
                self.client.connect();
                (0..orders).for_each(|_| self.client.send_order());
                self.client.pump_for(after);
            }
            Moment::Trading { after } => {
                self.until_ready(&mut machine)?;
                self.client.log_on();
                if self.random.u8(..4) == 0 {
                    self.client.ask_again();
                }
                self.go_on_for(&machine, after)?;
            }
            Moment::Failing { after, trouble, again } => note = self.fail(&mut machine, after, trouble, again)?,
            Moment::Full { after } => note = self.fill(&mut machine, after)?,
        }
        self.print(last, machine.recovery.as_deref());
        // Most of the time the disk has nothing at stake. Where it will soon, that is the more interesting moment.
        let waits = !matches!(moment, Moment::Booting { .. }) && self.random.u8(..4) > 0;
        let latest = Instant::now() + AT_STAKE_WAIT_MAX;
        while waits && self.disk.is_flushed() && Instant::now() < latest {
            self.trade(Duration::from_millis(1));
        }
        let counts = self.disk.counts();
        self.disk.power_off();
        machine.power_off().map_err(|error| format!("QEMU does not die: {error}"))?;
        let survival = Survival::random(&mut self.random);
        let cut = self.disk.cut(survival, &mut self.random).map_err(|error| format!("the image: {error}"))?;
        self.client.drain();
        self.flushes += counts.flushes;
        self.unflushed += cut.unflushed;
        let (flush_method, answered) = (self.blueprint.flush_method.clone(), self.client.answered());
        let mut life = Life { number, flush_method, moment, counts, cut, answered, held: Held::default(), note };
        match self.evidence() {
            Ok(held) => life.held = held,
            Err(why) => {
                life.note = format!("{why} (what survived: {survival:?})");
                self.print(&mut Some(life), None);
                return Err(format!("after cut {number}: {why}"));
            }
        }
        Ok(life)
    }

    fn evidence(&self) -> Result<Held, String> {
        evidence::check(&self.options.image, &self.options.work, &self.client)
    }

    fn until_ready(&mut self, machine: &mut Machine) -> Result<(), String> {
        machine.until("a ready engine", |told| *told == Told::Ready)?;
        self.boot = machine.powered_on.elapsed();
        self.disk.set_lies(self.options.lying_disk);
        Ok(())
    }

    fn boot_for(&mut self, machine: &mut Machine, after: Duration) -> Result<(), String> {
        loop {
            let left = after.saturating_sub(machine.powered_on.elapsed());
            match machine.told(left) {
                Some(Told::Ready) => self.boot = machine.powered_on.elapsed(),
                Some(other) => return Err(format!("while it booted: {other:?}\n{}", machine.last_words())),
                None => return Ok(()),
            }
        }
    }

    /// Trades with an engine that must not go.
    fn go_on_for(&mut self, machine: &Machine, time: Duration) -> Result<(), String> {
        if self.trade(time) {
            return Ok(());
        }
        Err(format!("the engine closed the connection:\n{}", machine.last_words()))
    }

    /// Orders at a steady rate. `false` when the connection is over.
    fn trade(&mut self, time: Duration) -> bool {
        let interval = Duration::from_secs(1) / self.options.rate;
        let began = Instant::now();
        let mut due = Duration::ZERO;
        while began.elapsed() < time {
            while due <= began.elapsed() && self.client.unanswered() < WINDOW {
                self.client.send_order();
                due += interval;
            }
            let next = due.max(began.elapsed() + Duration::from_millis(1)).min(time);
            if !self.client.pump_for(next.saturating_sub(began.elapsed())) {
                return false;
            }
        }
        true
    }

    /// What became of the engine whose volume fails.
    fn fail(
        &mut self,
        machine: &mut Machine,
        after: Duration,
        trouble: Trouble,
        again: bool,
    ) -> Result<String, String> {
        self.until_ready(machine)?;
        self.client.log_on();
        self.go_on_for(machine, after)?;
        match trouble {
            Trouble::Disk(fault) => self.disk.set_fault(Some(fault)),
            Trouble::ReadOnly => machine.tell("readonly")?,
        }
        let failed = Instant::now();
        let status = loop {
            self.trade(Duration::from_millis(5));
            match machine.told(Duration::ZERO) {
                Some(Told::Ended(status)) => break status,
                Some(other) => return Err(format!("instead of an ending: {other:?}\n{}", machine.last_words())),
                None if failed.elapsed() > ENDING_MAX => {
                    return Err(format!("{trouble:?}: the engine goes on for {ENDING_MAX:?}"));
                }
                None => {}
            }
        };
        if status != STATUS_STORAGE {
            return Err(format!("{trouble:?}: status {status}, not {STATUS_STORAGE}\n{}", machine.last_words()));
        }
        self.client.drain();
        let note = format!("status {status}");
        if !again {
            return Ok(note);
        }
        // The disk is well again, the machine still runs, and so does its page cache.
        self.disk.set_fault(None);
        machine.tell("run")?;
        match machine.told(DEADLINE) {
            Some(Told::Ready) => {}
            // The kernel has turned the filesystem read-only, or cannot read it any more.
            Some(Told::Ended(STATUS_STORAGE)) => return Ok(format!("{note}, and again at the next start")),
            other => return Err(format!("started again: {other:?}\n{}", machine.last_words())),
        }
        self.client.log_on();
        self.go_on_for(machine, Duration::from_millis(500))?;
        Ok(format!("{note}, went on in the same kernel"))
    }

    /// What a full volume does to an engine that runs, and to one that starts.
    fn fill(&mut self, machine: &mut Machine, after: Duration) -> Result<String, String> {
        self.until_ready(machine)?;
        self.client.log_on();
        machine.tell("fill")?;
        loop {
            self.go_on_for(machine, Duration::from_millis(100))?;
            match machine.told(Duration::ZERO) {
                Some(Told::Full) => break,
                None => {}
                other => return Err(format!("while the volume filled: {other:?}\n{}", machine.last_words())),
            }
        }
        let answered = self.client.answered();
        self.go_on_for(machine, after + Duration::from_secs(1))?;
        if self.client.answered() == answered {
            return Err("on a full volume the engine answers nothing any more".to_owned());
        }
        machine.tell("stop")?;
        self.client.drain();
        machine.until("a clean stop on a full volume", |told| *told == Told::Ended(0))?;
        machine.tell("run")?;
        machine.until("no start on a full volume", |told| *told == Told::Ended(STATUS_STORAGE))?;
        machine.tell("free")?;
        machine.tell("run")?;
        machine.until("a ready engine", |told| *told == Told::Ready)?;
        self.client.log_on();
        self.go_on_for(machine, Duration::from_millis(500))?;
        Ok(format!("went on, stopped with 0, did not start with {STATUS_STORAGE}, did with room again"))
    }

    /// The last life: everything is answered, the engine stops in order, and the medium holds all of it.
    fn close(&mut self, last: &mut Option<Life>) -> Result<String, String> {
        self.blueprint.flush_method = self.flush_method(self.options.cuts + 1);
        let mut machine =
            Machine::power_on(&self.blueprint).map_err(|error| format!("QEMU does not start: {error}"))?;
        machine.until("a ready engine", |told| *told == Told::Ready)?;
        self.print(last, machine.recovery.as_deref());
        self.client.log_on();
        self.client.until("all reports", |client| client.unanswered() == 0);
        self.client.log_out();
        self.client.check_complete();
        machine.tell("stop")?;
        machine.until("a clean stop", |told| *told == Told::Ended(0))?;
        self.flushes += self.disk.counts().flushes;
        self.disk.power_off();
        machine.power_off().map_err(|error| format!("QEMU does not die: {error}"))?;
        self.disk.cut(Survival::Nothing, &mut self.random).map_err(|error| format!("the image: {error}"))?;
        let held = self.evidence()?;
        if self.flushes == 0 {
            return Err("no flush of the guest's reached the disk, so nothing was proved".to_owned());
        }
        Ok(format!(
            "PASSED: {} power cuts, {} sectors unflushed at them, {} flushes; {} orders, each answered once; nothing acknowledged was lost ({} orders and {} messages compared at the end, {} recycled before)",
            self.options.cuts,
            self.unflushed,
            self.flushes,
            self.client.answered(),
            held.orders,
            held.messages,
            held.recycled,
        ))
    }

    /// A life's line, once it is known what the next start found.
    fn print(&self, life: &mut Option<Life>, recovery: Option<&str>) {
        let Some(Life { number, flush_method, moment, counts, cut, answered, held, note }) = life.take() else {
            return;
        };
        let recovery = recovery.unwrap_or("cut before it was ready");
        let recovery = recovery.strip_prefix("journal 0: ").unwrap_or(recovery);
        let note = if note.is_empty() { note } else { format!("[{note}] ") };
        println!(
            "{number:>4} {flush_method:<9} {:<30} {:>7} {:>9} {:>6} {:>6} {:>6} {answered:>8} {:>9}  {note}{recovery}",
            moment.to_string(),
            counts.flushes,
            cut.unflushed,
            cut.newest,
            cut.older,
            cut.lost,
            held.orders,
        );
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Booting { after } => write!(f, "booting for {after:.1?}"),
            Self::LoggingOn { after, orders } => write!(f, "logon and {orders} orders, {after:.0?}"),
            Self::Trading { after } => write!(f, "trading for {after:.2?}"),
            Self::Failing { after, trouble: Trouble::Disk(fault), .. } => write!(f, "{fault:?} after {after:.2?}"),
            Self::Failing { after, trouble: Trouble::ReadOnly, .. } => write!(f, "read-only after {after:.2?}"),
            Self::Full { after } => write!(f, "full for {after:.2?}"),
        }
    }
}
