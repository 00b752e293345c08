//! The ring's marks: what each side may touch, and what a mark says of the volume.

use loom::sync::Arc;
use loom::sync::atomic::AtomicU64;
use loom::sync::atomic::Ordering::Relaxed;
use loom::thread;

use crate::sys::ring::{IDENTITY_BYTES, RING_BYTES_MIN, RingMemory, RingReader, RingWriter};

const PIECE: u64 = RING_BYTES_MIN / 2;

fn ring() -> (RingWriter, RingReader) {
    let (mut memory, _) = RingMemory::anonymous(RING_BYTES_MIN).expect("memory");
    memory.reset(&[7; IDENTITY_BYTES], 3, 0);
    memory.split()
}

fn append(writer: &mut RingWriter, piece: u64) {
    let position = piece * PIECE;
    while !writer.has_room(position + PIECE) {
        thread::yield_now();
    }
    writer.mutable(position, PIECE)[0] = piece as u8 + 1;
    writer.publish(position + PIECE);
}

/// The flusher's work: everything that is published, to a volume of one number a piece.
fn carry(reader: &mut RingReader, volume: &[AtomicU64]) -> bool {
    let appended = reader.appended();
    let synced = reader.synced();
    if appended == synced {
        return false;
    }
    // A lap's end is not straddled.
    for piece in synced / PIECE..appended / PIECE {
        let bytes = reader.read(piece * PIECE, PIECE);
        assert_eq!(u64::from(bytes[0]), piece + 1, "a piece of another lap");
        volume[piece as usize].store(piece + 1, Relaxed);
    }
    reader.set_written(appended);
    reader.set_synced(appended);
    true
}

fn volume(pieces: u64) -> Arc<Vec<AtomicU64>> {
    Arc::new((0..pieces).map(|_| AtomicU64::new(0)).collect())
}

pub fn what_is_published_is_read_whole_lap_after_lap() {
    const PIECES: u64 = 4;
    let (mut writer, mut reader) = ring();
    let volume = volume(PIECES);
    let flusher = thread::spawn(move || {
        while reader.synced() < PIECES * PIECE {
            if !carry(&mut reader, &volume) {
                thread::yield_now();
            }
        }
    });
    (0..PIECES).for_each(|piece| append(&mut writer, piece));
    flusher.join().expect("the flusher");
}

/// The worker's question before it sends: has the mark passed the commit's end?
pub fn what_is_released_is_on_the_volume() {
    const PIECES: u64 = 2;
    let (mut writer, mut reader) = ring();
    let volume = volume(PIECES);
    let carried = Arc::clone(&volume);
    let flusher = thread::spawn(move || {
        while reader.synced() < PIECES * PIECE {
            if !carry(&mut reader, &carried) {
                thread::yield_now();
            }
        }
    });
    for piece in 0..PIECES {
        append(&mut writer, piece);
        let (written, synced) = (writer.written(), writer.synced());
        for (mark, name) in [(written, "written"), (synced, "synced")] {
            for before in 0..mark / PIECE {
                assert_eq!(volume[before as usize].load(Relaxed), before + 1, "{name}, and not on the volume");
            }
        }
    }
    flusher.join().expect("the flusher");
}

pub fn what_a_third_party_reads_up_to_the_mark_is_there() {
    let (mut writer, mut reader) = ring();
    let marks = writer.watermarks();
    let volume = volume(1);
    let carried = Arc::clone(&volume);
    let flusher = thread::spawn(move || {
        while !carry(&mut reader, &carried) {
            thread::yield_now()
        }
    });
    let stager = thread::spawn(move || {
        for (mark, name) in [(marks.synced(), "synced"), (marks.written(), "written")] {
            assert!(mark < PIECE || volume[0].load(Relaxed) == 1, "{name}, and not on the volume");
        }
        assert!(marks.synced() <= marks.appended(), "a mark that is ahead of the one it follows");
    });
    append(&mut writer, 0);
    flusher.join().expect("the flusher");
    stager.join().expect("the stager");
}
