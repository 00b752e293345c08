//! What a seed decides for the whole world.

use std::time::Duration;

use crate::config::Config;

const MODES: [&str; 3] = ["buffered", "flush", "sync"];
const STEPS_BETWEEN_FAULTS_MAX: u32 = 120;
/// In a few worlds, so that their journals go round.
const STEPS_BETWEEN_FAULTS_LONG_MAX: u32 = 1_200;
/// The shortest that a configuration may say.
const RETENTION_AGE: Duration = Duration::from_secs(1);
/// All segments of a journal together.
const JOURNAL_KIB_MIN: u64 = 512;

#[derive(Clone, Debug)]
pub struct Plan {
    pub sessions: usize,
    pub begin_string: &'static str,
    /// The desk's setting that begins the numbers again.
    pub reset: Option<&'static str>,
    /// NextExpectedMsgSeqNum(789): by both sides, by neither, or as it falls.
    pub next_expected: Option<bool>,
    pub news: bool,
    /// The venue has no session by name: each Logon makes one.
    pub is_template: bool,
    pub steps_between_faults_max: u32,
    /// Of each side: desk, venue.
    pub sides: [SidePlan; 2],
}

#[derive(Clone, Debug)]
pub struct SidePlan {
    pub journals: u16,
    pub rings_on_volume: bool,
    /// A write is on the media when it returns: the flush method `dsync`.
    pub writes_through: bool,
    /// The least time between two writes of a flusher.
    pub flush_interval_min_ns: u64,
    /// Of the engine; a session may be stronger.
    pub mode: usize,
    pub workers: u32,
    /// Each session names its journal; else a hash of its identity says which.
    pub names_journals: bool,
    /// Sealed segments have to be archived before they are recycled.
    pub archives: bool,
    /// Messages that are older than this are not sent again.
    pub retention_age: Option<Duration>,
    /// Its volume is damaged, or put back from a copy, while no engine runs.
    pub is_damaged: bool,
}

impl Plan {
    pub fn new(random: &mut fastrand::Rng) -> Self {
        Self {
            sessions: random.usize(1..4),
            is_template: random.u8(..5) == 0,
            begin_string: ["FIX.4.2", "FIX.4.4", "FIXT.1.1"][random.usize(..3)],
            reset: (random.u8(..6) == 0)
                .then(|| ["reset_on_logon", "reset_on_logout", "reset_on_disconnect"][random.usize(..3)]),
            next_expected: [Some(true), Some(true), Some(false), None][random.usize(..4)],
            news: random.bool(),
            steps_between_faults_max: match random.u8(..10) {
                0 => STEPS_BETWEEN_FAULTS_LONG_MAX,
                _ => STEPS_BETWEEN_FAULTS_MAX,
            },
            sides: [SidePlan::new(random), SidePlan::new(random)],
        }
    }
}

impl SidePlan {
    fn new(random: &mut fastrand::Rng) -> Self {
        let journals = if random.u8(..4) == 0 { random.u16(2..4) } else { 1 };
        Self {
            journals,
            workers: if random.u8(..3) == 0 { 1 } else { random.u32(1..=u32::from(journals)) },
            names_journals: random.bool(),
            archives: random.u8(..6) == 0,
            retention_age: (random.u8(..16) == 0).then_some(RETENTION_AGE),
            rings_on_volume: random.u8(..6) == 0,
            writes_through: random.u8(..5) == 0,
            is_damaged: random.u8(..5) == 0,
            flush_interval_min_ns: [0, 0, 0, 200_000][random.usize(..4)],
            mode: random.usize(..3),
        }
    }
}

/// A small engine: rings wrap, segments are recycled, queues overflow.
pub fn config(random: &mut fastrand::Rng, plan: &Plan, side: usize) -> Config {
    let is_desk = side == 0;
    let mode = plan.sides[side].mode;
    let ring_kib = [64, 64, 64, 64, 64, 64, 128, 256][random.usize(..8)];
    let segment_kib = ring_kib * random.u64(1..3);
    // A resend must find what a peer has missed meanwhile, see the bounds of desk and venue: with less than this it may have been
    // recycled, which is a loss by design.
    let segments = (JOURNAL_KIB_MIN.div_ceil(segment_kib) as u32).max(4) + random.u32(..2);
    let flush_us = [50, 1_000, 5_000][random.usize(..3)];
    let gap_max = [64, 100, 16_384][random.usize(..3)];
    let mut text = format!(
        "[engine]\nmessage_bytes_max = \"2KiB\"\ncommit_bytes_max = \"{}KiB\"\nconnections_max = 64\n\
         pending_connections_max = 16\nlogon_timeout = \"1s\"\nlogout_timeout = \"500ms\"\nprobe_timeout = \"200ms\"\n\
         [persistence]\nmode = \"{}\"\nring_bytes = \"{ring_kib}KiB\"\nsegment_bytes = \"{segment_kib}KiB\"\n\
         segments = {segments}\nflush_interval = \"{flush_us}us\"\nsequence_gap_max = {gap_max}\n\
         retention_min = \"0s\"\nretention_undelivered_max = \"0s\"\n[control]\nlisten = \"off\"\n",
        random.u32(8..17),
        MODES[mode],
    );
    if !is_desk {
        text += "[[acceptor]]\nlisten = \"10.0.0.1:9880\"\n";
    }
    let is_template = plan.is_template && !is_desk;
    let retention_age = plan.sides[side].retention_age;
    for session in 0..if is_template { 1 } else { plan.sessions } {
        // A session may be stronger than the rest.
        let mode = if random.u8(..3) == 0 { random.usize(mode..3) } else { mode };
        let next_expected = plan.begin_string != "FIX.4.2" && plan.next_expected.unwrap_or_else(|| random.bool());
        text += &format!(
            "[[session]]\nbegin_string = \"{}\"\nmode = \"{}\"\nheartbeat_seconds = 1\nheld_messages_max = {}\n\
             held_bytes_max = \"4KiB\"\nnext_expected_msg_seq_num = {next_expected}\n",
            plan.begin_string,
            MODES[mode],
            random.u32(1..12),
        );
        if plan.sides[side].names_journals && !is_template {
            text += &format!("journal = {}\n", session % usize::from(plan.sides[side].journals));
        }
        text += &if is_desk {
            format!(
                "role = \"initiator\"\nsender_comp_id = \"DESK{session}\"\ntarget_comp_id = \"VENUE\"\n\
                 connect = [\"10.0.0.1:9880\"]\nreconnect_min = \"5ms\"\nreconnect_max = \"50ms\"\n{}\n",
                plan.reset.map_or_else(String::new, |key| format!("{key} = true")),
            )
        } else if is_template {
            "role = \"acceptor\"\nsender_comp_id = \"VENUE\"\ntarget_comp_id = \"*\"\n".to_string()
        } else {
            format!("role = \"acceptor\"\nsender_comp_id = \"VENUE\"\ntarget_comp_id = \"DESK{session}\"\n")
        };
    }
    let mut config = Config::parse(&text, "world").unwrap_or_else(|error| panic!("{error}\n{text}"));
    config.persistence.retention_age = retention_age;
    config
}
