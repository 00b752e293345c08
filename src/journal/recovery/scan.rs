//! What the commits of a journal add up to, one after the other.

use std::collections::BTreeMap;

use super::super::scan::{Incarnations, Source, commit_at};
use super::super::state::read_head;
use super::super::{
    Geometry, HEADER_BYTES, IncarnationStart, Kind, RecordHeader, RecoveredSession, StorageError, StoredNumbers, flags,
};
use super::PlacedRollback;

const NS_PER_S: u64 = 1_000_000_000;

/// The state of a scan: what the commits so far add up to.
pub(in crate::journal) struct Scan {
    pub geometry: Geometry,
    pub incarnations: Incarnations,
    /// Where the next commit would begin.
    pub at: u64,
    pub sessions: BTreeMap<u32, RecoveredSession>,
    pub snapshot: Vec<u8>,
    pub state_position: Option<u64>,
    pub replay_start: u64,
    pub commits: u64,
    pub record_count: u64,
    pub last_kind: Option<Kind>,
    /// The newest incarnation of which a State or its start was read.
    pub started: u32,
    pub rollbacks: Vec<PlacedRollback>,
}

impl Scan {
    pub fn new(geometry: Geometry, incarnations: Incarnations) -> Self {
        Self {
            geometry,
            incarnations,
            at: 0,
            sessions: BTreeMap::new(),
            snapshot: Vec::new(),
            state_position: None,
            replay_start: 0,
            commits: 0,
            record_count: 0,
            last_kind: None,
            started: 0,
            rollbacks: Vec::new(),
        }
    }

    pub fn move_to_leases(&mut self, position: u64) {
        for session in self.sessions.values_mut() {
            if let Some(rollback) = session.move_to_lease() {
                self.rollbacks.push(PlacedRollback { position, session: session.number, rollback });
            }
        }
    }

    /// Reads commits until one is not whole. Without a State record so far, the first must bring one.
    pub fn run(&mut self, source: &mut impl Source) -> Result<(), StorageError> {
        let mut records = Vec::new();
        while let Some(end) = commit_at(source, &self.geometry, self.at, &mut self.incarnations, &mut records)? {
            let is_head = records[0].1.kind == Kind::State;
            // A segment begins with its head, and nothing else does.
            if is_head != self.at.is_multiple_of(self.geometry.segment_bytes) {
                break;
            }
            if !self.apply(source, &records, end)? {
                break;
            }
            self.at = end;
        }
        Ok(())
    }

    /// `false` where the records are whole but a payload of the journal's own is not what it must be.
    pub fn apply(
        &mut self,
        source: &mut impl Source,
        records: &[(u64, RecordHeader)],
        end: u64,
    ) -> Result<bool, StorageError> {
        for (position, header) in records {
            let payload = match header.kind {
                Kind::State | Kind::SessionDefined | Kind::Numbers | Kind::IncarnationStart => {
                    source.bytes(position + HEADER_BYTES, header.payload_bytes())?
                }
                _ => &[],
            };
            match header.kind {
                Kind::State => {
                    let Some((sessions, snapshot)) = read_head(payload) else {
                        return Ok(false);
                    };
                    self.sessions = sessions.into_iter().map(|session| (session.number, session)).collect();
                    self.snapshot = snapshot.to_vec();
                    self.state_position = Some(*position);
                    self.replay_start = end;
                    (self.commits, self.record_count) = (0, 0);
                    self.rollbacks.clear();
                    self.started = header.incarnation;
                }
                Kind::SessionDefined => {
                    self.sessions.entry(header.session).or_insert_with(|| RecoveredSession {
                        began_s: header.time_ns / NS_PER_S,
                        ..RecoveredSession::new(header.session, payload)
                    });
                }
                Kind::Outbound => {
                    if let Some(session) = self.sessions.get_mut(&header.session) {
                        session.last_out = *position;
                        session.rollback = None;
                        session.next_out = header.msg_seq_num.saturating_add(1);
                    }
                }
                Kind::Inbound => {
                    if let Some(session) = self.sessions.get_mut(&header.session) {
                        session.last_in = *position;
                        session.rollback = None;
                        if header.has(flags::COUNTED) {
                            session.next_in = header.msg_seq_num.saturating_add(1);
                        }
                    }
                }
                // They hold at this place of the commit: a Logon that answers a reset, or what the application sends
                // in the same step, follows them under the next numbers.
                Kind::Numbers => {
                    let Some(numbers) = StoredNumbers::of(payload) else {
                        return Ok(false);
                    };
                    if header.has(flags::FORGOTTEN) {
                        let forgotten = RecoveredSession::forgotten(header.session, numbers.epoch);
                        self.sessions.insert(header.session, forgotten);
                    } else if let Some(session) = self.sessions.get_mut(&header.session) {
                        if session.epoch != numbers.epoch || header.has(flags::BEGAN) {
                            session.began_s = header.time_ns / NS_PER_S;
                        }
                        session.next_out = numbers.next_out;
                        session.next_in = numbers.next_in;
                        session.epoch = numbers.epoch;
                        session.lease = numbers.lease;
                        session.rollback = None;
                        session.next_out_from_peer = header.has(flags::NEXT_OUT_FROM_PEER);
                    }
                }
                Kind::IncarnationStart => {
                    self.started = header.incarnation;
                    if IncarnationStart::of(payload).is_some_and(|start| start.numbers_moved) {
                        self.move_to_leases(*position);
                    }
                }
                Kind::Pad | Kind::Replay | Kind::CleanStop => {}
            }
            self.last_kind = Some(header.kind);
        }
        if records[0].1.kind != Kind::State {
            self.commits += 1;
            self.record_count += records.len() as u64;
        }
        Ok(true)
    }
}
