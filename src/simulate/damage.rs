//! What happens to a directory while no engine runs on it and ought not to happen: its volume loses what was synced, or somebody puts a copy
//! in its place or uses one beside it.
//!
//! A start over such a directory either goes on above every number that has left, with everything that was promised, or it is held or refused
//! with a reason, changes nothing, and is refused again. Then the damage is undone, and the next start has to go well.
//! A place is damaged only where something is left that proves that it was synced: the ring, or a record behind it.

use std::ops::Range;

use super::node::{Crash, RingImage};
use super::side::{Around, Side, Told};
use super::wire::Wire;
use crate::engine::{Environment, StartError};
use crate::journal::OpenError;
use crate::journal::simulated::{SimulatedStorage, VolumeImage};
use crate::transport::simulated::{Host, SimulatedNetwork};

/// A place is looked for so often.
const LOOKS_MAX: u32 = 8;
const PAGE_BYTES: u64 = 4096;
/// Bits that are wrong lie within so many bytes.
const ROTTEN_BYTES: u64 = 64;
/// What names a segment is at its beginning.
const HEAD_BYTES: u64 = 512;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    BitRot,
    StalePage,
    LostSegment,
    OlderSegment,
    OlderManifest,
    CopyPutBack,
    CopyBeside,
}

const ALL: [Damage; 7] = [
    Damage::BitRot,
    Damage::StalePage,
    Damage::LostSegment,
    Damage::OlderSegment,
    Damage::OlderManifest,
    Damage::CopyPutBack,
    Damage::CopyBeside,
];

/// What undoes it.
struct Before {
    volume: VolumeImage,
    rings: Vec<RingImage>,
}

impl<A: Told> Side<A> {
    /// Somebody copies the directory, to put it back one day.
    pub fn take_copy(&mut self, around: &mut Around) {
        let Some(running) = &mut self.running else { return };
        let ring_bytes = self.node.settings.geometry.ring_bytes;
        self.node.older_rings = running.journals.iter_mut().map(|journal| journal.older_ring(ring_bytes)).collect();
        if self.is_damaged {
            self.copy = Some(self.node.storage.copy());
            around.trace.say(|| format!("{}: its directory is copied", self.name));
        }
    }

    /// Damages the directory now and then, and starts over that. Whether an engine runs now.
    pub(super) fn start_over_damage(&mut self, around: &mut Around, make: &mut impl FnMut(Environment) -> A) -> bool {
        let has_run = self.witnesses.iter().any(|witness| witness.end() > 0);
        if !has_run || around.random.u8(..3) > 0 {
            return false;
        }
        self.node.storage.calm();
        let damage = ALL[around.random.usize(..ALL.len())];
        let before = Before { volume: self.node.storage.image(), rings: self.node.ring_images() };
        let Some(place) = self.do_damage(damage, around, make) else {
            self.undo(&before);
            return false;
        };
        around.trace.say(|| format!("{}: {damage:?} at {place:?}", self.name));
        self.count_damage(damage, around);
        let damaged = self.node.storage.image();
        let host = around.host();
        match self.node.start(around.clock.now(), &around.network, &around.wire, host, &mut *make) {
            Ok(running) => {
                assert!(damage != Damage::CopyBeside, "{}: starts although a copy works with its ring", self.name);
                around.seen.damage_passed += 1;
                self.started(running, Some(place), around);
                return true;
            }
            Err(error) => self.refused(damage, &error),
        }
        around.seen.damage_held += 1;
        assert!(self.node.storage.is_as(&damaged), "{}: a start that is refused has changed something", self.name);
        around.network.crash(host);
        let again = self.node.start(around.clock.now(), &around.network, &around.wire, host, make);
        match again {
            Ok(_) => panic!("{}: refused over {damage:?}, and the next start is not", self.name),
            Err(error) => self.refused(damage, &error),
        }
        around.network.crash(host);
        self.undo(&before);
        false
    }

    /// Only for a reason that an operator can do something about.
    fn refused(&self, damage: Damage, error: &StartError) {
        let is_reason = matches!(error, StartError::Journal(why) if !matches!(why, OpenError::Storage(_)));
        assert!(is_reason && self.node.storage.struck().is_none(), "{}: {damage:?}, and then {error}", self.name);
    }

    fn undo(&mut self, before: &Before) {
        self.node.storage.put_back(&before.volume);
        self.node.put_back_rings(&before.rings);
    }

    /// `None` where it cannot be done now. Else the place of a journal that is damaged, if it is one.
    fn do_damage(
        &mut self,
        damage: Damage,
        around: &mut Around,
        make: &mut impl FnMut(Environment) -> A,
    ) -> Option<Option<(usize, Range<u64>)>> {
        let has_ring = !self.node.keepers.is_empty() && self.kept.iter().all(|kept| !kept.ring_is_lost());
        match damage {
            Damage::OlderManifest => {
                let copy = self.copy.as_ref()?;
                self.node.storage.put_back_manifest(copy).then_some(None)
            }
            Damage::CopyPutBack => {
                // Without the ring nothing tells of what came later.
                let copy = self.copy.as_ref().filter(|_| has_ring)?;
                self.node.storage.put_back(copy);
                Some(None)
            }
            Damage::CopyBeside => {
                has_ring.then(|| self.use_copy(around, make))?;
                Some(None)
            }
            _ => (0..LOOKS_MAX).find_map(|_| self.damage_place(damage, around)).map(Some),
        }
    }

    fn damage_place(&mut self, damage: Damage, around: &mut Around) -> Option<(usize, Range<u64>)> {
        let random = &mut around.random;
        let journal = random.usize(..self.witnesses.len());
        let geometry = self.node.settings.geometry;
        let synced = self.kept[journal].synced().min(self.witnesses[journal].end());
        let newest = synced.checked_sub(1)? / geometry.segment_bytes;
        let oldest = geometry.oldest_position(synced) / geometry.segment_bytes;
        let segment = if random.u8(..4) > 0 { newest } else { random.u64(oldest..=newest) };
        let first = segment * geometry.segment_bytes;
        let end = synced.min(first + geometry.segment_bytes);
        let place = match damage {
            Damage::BitRot => {
                let to = if random.u8(..4) == 0 { end.min(first + HEAD_BYTES) } else { end };
                let at = random.u64(first..to);
                at..end.min(at + ROTTEN_BYTES)
            }
            Damage::StalePage => {
                let at = random.u64(first..end) / PAGE_BYTES * PAGE_BYTES;
                at..at + PAGE_BYTES
            }
            _ => first..end,
        };
        let kept = &self.kept[journal];
        if kept.ring_is_lost() && !self.witnesses[journal].is_proven(&place, synced) {
            return None;
        }
        let (slot, offset) = geometry.slot(journal as u16, place.start);
        let storage = &self.node.storage;
        let is_done = match damage {
            Damage::BitRot => {
                for _ in 0..random.u8(1..5) {
                    let bit = 1 << random.u8(..8);
                    storage.corrupt(slot, offset + random.u64(..place.end - place.start), |byte| byte ^ bit);
                }
                true
            }
            Damage::StalePage => storage.go_back(slot, offset),
            Damage::LostSegment => {
                storage.lose_segment(slot);
                true
            }
            _ => storage.put_back_segment(self.copy.as_ref()?, slot),
        };
        is_done.then_some((journal, place))
    }

    /// A copy of the directory is started on this machine, and finds the ring of the original, which does not run.
    fn use_copy(&mut self, around: &mut Around, make: &mut impl FnMut(Environment) -> A) {
        let copy = SimulatedStorage::new(self.node.settings.geometry);
        copy.put_back(&self.node.storage.copy());
        let original = std::mem::replace(&mut self.node.storage, copy);
        let archive = self.node.archive.take();
        let (network, wire) = (SimulatedNetwork::new(1), Wire::default());
        let started = self.node.start(around.clock.now(), &network, &wire, Host(1), make);
        let mut running = started.unwrap_or_else(|error| panic!("{}: the copy does not start: {error}", self.name));
        for _ in 0..around.random.u8(1..4) {
            running.turn(around.clock.now());
        }
        let _ = self.node.crash(running, &network, Crash::Process, &mut around.random);
        (self.node.storage, self.node.archive) = (original, archive);
    }

    fn count_damage(&self, damage: Damage, around: &mut Around) {
        let seen = &mut around.seen;
        *match damage {
            Damage::BitRot => &mut seen.rotten,
            Damage::StalePage => &mut seen.stale_pages,
            Damage::LostSegment => &mut seen.lost_segments,
            Damage::OlderSegment => &mut seen.older_segments,
            Damage::OlderManifest => &mut seen.older_manifests,
            Damage::CopyPutBack => &mut seen.copies_put_back,
            Damage::CopyBeside => &mut seen.copies_beside,
        } += 1;
    }
}
