//! What the worlds met.

/// What a run of some hundred worlds need not meet.
const RARE: [&str; 3] = ["heads", "recycled", "putting aside"];

macro_rules! seen {
    ($($field:ident $label:literal,)*) => {
        /// Counts of one world, or of many. A run that never met the hard cases proves nothing.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Seen {
            $(#[doc = $label] pub $field: u64,)*
            /// Of every message that left, in its order: two runs of one seed agree in it.
            pub hash: u64,
        }

        impl Seen {
            pub fn add(&mut self, other: &Self) {
                $(self.$field += other.$field;)*
                self.hash ^= other.hash;
            }

            /// Each count with its name.
            pub fn rows(&self) -> Vec<(&'static str, u64)> {
                vec![$(($label, self.$field),)*]
            }

            /// What some hundred worlds ought to meet and these did not: then nothing is known of it.
            pub fn never_met(&self) -> Vec<&'static str> {
                let rows = self.rows().into_iter().filter(|(name, count)| *count == 0 && !is_rare(name));
                rows.map(|(name, _)| name).collect()
            }
        }
    };
}

seen! {
    worlds "worlds",
    crashes "crashes",
    processes "crashes: the process died, the ring was kept",
    pods "crashes: the pod died, the ring was lost",
    nodes "crashes: the node died, what was not synced at risk",
    within_a_write "crashes within a write",
    within_a_sync "crashes within a sync",
    within_a_read "crashes within a read",
    within_a_manifest "crashes within the replacement of the manifest",
    within_a_quarantine "crashes within putting aside",
    within_recovery "crashes within recovery",
    recovery_loops "recoveries crashed at each of their calls in turn",
    within_a_stop "crashes within a clean stop",
    before_sending "crashes between commit and send",
    both_at_once "crashes of both sides at once",
    rings_survived "rings on the volume that a node's death left, of an earlier boot and an earlier time",
    pages_torn "pages torn",
    eio_writes "EIO on a write",
    eio_syncs "EIO on a sync, its pages lost",
    eio_reads "EIO on a read",
    eio_others "EIO on manifest or quarantine",
    enospc "ENOSPC",
    recoveries "recoveries",
    rings_accepted "recoveries that went on from a ring",
    rings_quarantined "recoveries that put a ring aside",
    carried_bytes "bytes carried over from rings",
    discarded_bytes "bytes found beyond the end and put aside",
    heads_skipped "segment heads that were not whole",
    commits "commits",
    commits_lost "commits lost, none of them acknowledged in a mode that keeps them",
    commits_compared "commits compared with the media after recoveries",
    releases_buffered "messages released in buffered",
    releases_flush "messages released in flush, found in the page cache",
    releases_sync "messages released in sync, found on the media",
    clean_stops "clean stops",
    cuts "network cuts",
    orders "orders answered",
    messages "messages that left",
    resent "messages resent",
    gap_fills "gap fills",
    recycled_unsent "messages gap-filled, their segment recycled",
    resets "resets of numbers",
    ring_full "rings full",
    moved "sessions that went on at their lease after a loss",
    both_moved "starts after a loss while the other side had one too",
    resumed "logons that went on at the peer's NextExpectedMsgSeqNum instead",
    reused "of them, below a number that had left",
    below_lease "messages released by virtue of a lease, found on the media",
    renewals_lost "starts that found the newest renewal of a lease lost",
    renewals_kept "starts that found it",
    lease_waits "messages that waited for stable media for want of a lease",
    strays "messages that came again or answered what was lost",
    segments_rolled "segments rolled",
    segments_recycled "segments recycled",
    held "segments that waited for a resend before they were overwritten",
    writes_through "engines whose writes are on the media when they return",
    multi_journal "engines of several journals",
    multi_worker "engines of several workers",
    rotten "damage: bits of what was synced are others",
    stale_pages "damage: a page reads as before it was last synced",
    lost_segments "damage: a segment is lost",
    older_segments "damage: a segment is put back from a copy",
    older_manifests "damage: the manifest is put back from a copy",
    copies_put_back "damage: the directory is put back from a copy",
    copies_beside "damage: a copy works with the original's ring",
    lies_of_syncs "worlds whose volumes acknowledged syncs that they had not done, found out",
    lies_of_writes "worlds whose volumes acknowledged writes that they had not done, found out",
    damage_held "starts over damage that were held or refused",
    damage_passed "starts over damage that went on above all that had left, with all that was promised",
    handed_over "connections handed over to another worker",
    template_sessions "sessions that a template made",
    archives "engines whose segments have to be archived",
    archived "segments archived and compared with what was appended",
    archive_holds "turns in which a segment waited for the archive",
    archive_refusals "copies that the archive refused",
    aged_unsent "messages gap-filled, older than retention_age",
    numbers_compared "recovered numbers that were what the records add up to, and above all that had left",
}

pub fn is_rare(row: &str) -> bool {
    RARE.iter().any(|rare| row.contains(rare))
}
