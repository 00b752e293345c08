//! Finds messages by MsgSeqNum(34) through the session's backward links, as a resend does, and not by a walk over everything.

use super::super::scan::record_at;
use super::super::{NONE, RecordHeader, RecoveredSession, StorageError};
use super::status::{Sources, Standing, standing};
use super::{CatRecord, Directory};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Outbound, or else inbound.
    pub outbound: bool,
    pub from: u64,
    pub to: u64,
    /// The session's present one without it.
    pub epoch: Option<u32>,
}

/// Where the messages lie, and how the walk ended.
pub struct Found {
    sources: Sources,
    directory: Directory,
    journal: u16,
    identity: Box<[u8]>,
    /// The newest first.
    positions: Vec<u64>,
    pub epoch: u32,
    /// The lowest number that the walk came upon in this epoch.
    pub lowest: Option<u64>,
    /// The chain left what the journal still holds before the number asked for was reached.
    pub is_cut_off: bool,
}

/// Looks for the messages of the session of which `is_asked` accepts the identity. `None` where there is none.
pub fn seek(
    directory: &Directory,
    is_asked: impl Fn(&[u8]) -> bool,
    wanted: Wanted,
) -> Result<Option<Found>, StorageError> {
    for journal in 0..directory.manifest().geometry.journals {
        let Standing { scan, sources, .. } = standing(directory, journal)?;
        for session in scan.sessions.into_values() {
            if is_asked(&session.identity) {
                return Ok(Some(walk(directory, journal, sources, session, wanted)?));
            }
        }
    }
    Ok(None)
}

fn walk(
    directory: &Directory,
    journal: u16,
    sources: Sources,
    session: RecoveredSession,
    wanted: Wanted,
) -> Result<Found, StorageError> {
    let mut at = if wanted.outbound { session.last_out } else { session.last_in };
    let epoch = wanted.epoch.unwrap_or(session.epoch);
    let mut found = Found {
        sources,
        directory: directory.clone(),
        journal,
        identity: session.identity,
        positions: Vec::new(),
        epoch,
        lowest: None,
        is_cut_off: false,
    };
    while at != NONE {
        let Some(header) = found.header(at)?.filter(|header| header.session == session.number) else {
            found.is_cut_off = true;
            break;
        };
        if header.epoch < epoch {
            break;
        }
        if header.epoch == epoch {
            let number = header.msg_seq_num;
            found.lowest = Some(found.lowest.map_or(number, |lowest| lowest.min(number)));
            if (wanted.from..=wanted.to).contains(&number) {
                found.positions.push(at);
            }
            // An inbound message that came too early is stored twice; what is counted goes up one by one.
            let in_order = wanted.outbound || header.has(super::super::flags::COUNTED);
            if in_order && number < wanted.from {
                break;
            }
        }
        // Links go back, whatever the bytes say: so the walk ends.
        if header.previous != NONE && header.previous >= at {
            found.is_cut_off = true;
            break;
        }
        at = header.previous;
    }
    Ok(found)
}

impl Found {
    pub fn len(&self) -> usize {
        self.positions.len()
    }

    pub fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    /// The messages in the order that they were stored. What was overwritten since is left out.
    pub fn records(mut self) -> impl Iterator<Item = Result<CatRecord, StorageError>> {
        std::mem::take(&mut self.positions).into_iter().rev().filter_map(move |position| {
            let record = self.record(position);
            record.transpose()
        })
    }

    fn record(&mut self, position: u64) -> Result<Option<CatRecord>, StorageError> {
        let geometry = self.directory.manifest().geometry;
        for look in 0..2 {
            if look > 0 {
                self.look_again();
            }
            let mut found = record_at(&mut self.sources.segments, &geometry, position)?;
            if found.is_none()
                && let Some(ring) = &mut self.sources.ring
            {
                found = record_at(ring, &geometry, position)?;
            }
            if let Some((header, payload)) = found {
                let (identity, payload) = (self.identity.clone(), payload.into());
                return Ok(Some(CatRecord { journal: self.journal, position, header, identity, payload }));
            }
        }
        Ok(None)
    }

    fn header(&mut self, position: u64) -> Result<Option<RecordHeader>, StorageError> {
        self.sources.segments.look_back(position.min(u64::MAX / 4))?;
        Ok(self.record(position)?.map(|record| record.header))
    }

    fn look_again(&mut self) {
        self.sources.segments.forget();
        let manifest = self.directory.manifest();
        if let Some(ring) = &mut self.sources.ring {
            ring.refresh(manifest, self.journal);
        }
    }
}
