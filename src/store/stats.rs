//! What a store has done and what it holds, as plain numbers to be added up over shards.

use crate::counters::counters;

counters! {
    /// Counters since the start and gauges of this moment.
    Stats {
        /// Entries held, those that have expired but are not removed yet included.
        entries,
        /// Those of them that expire.
        entries_with_ttl,
        /// Bytes of the budget in use: entries, their overhead, index and bookkeeping.
        used_bytes,
        /// Bytes of the entries themselves: key, value and the words before them.
        payload_bytes,
        /// Bytes of the pages that entries lie in: `payload_bytes` and what is lost between them.
        entry_page_bytes,
        /// The bound on `used_bytes`.
        budget_bytes,
        /// Reads that found a live key.
        hits,
        /// Reads that found none.
        misses,
        /// Those of `hits` whose key was there though its time to live was over.
        stale,
        /// Those of `misses` whose key was there but had expired.
        expired,
        /// Puts of a new key.
        created,
        /// Puts over a live key.
        replaced,
        /// Puts of an entry that is too large, or for which there is no room.
        rejected,
        /// Those of `rejected` for which there was no room (`--eviction none`).
        rejected_full,
        /// Deletes of a live key.
        deleted,
        /// Live entries deleted because of how their key begins.
        prefix_deleted,
        /// Live entries dropped to make room.
        evictions,
        /// Bytes of those: key, value and the words before them.
        evicted_bytes,
        /// Those of `evictions` that were never read.
        evicted_unread,
        /// Milliseconds for which the last victim had not been used: got, put or touched. Taken
        /// from a sample of the entries, about one in a hundred, so that it tells of the one of
        /// them that was evicted last: under `lru` some hundredths more than the victim's own
        /// time at most times. 0 until one was evicted. Of several shards, the longest.
        victim_idle_ms: max,
        /// Entries dropped by a flush.
        flushed,
        /// Entries dropped because their time was over.
        expirations,
        /// Those of `expirations` that nobody had asked for.
        expirations_swept,
        /// Entries dropped because one of their tags was invalidated.
        invalidated,
        /// Entries and chunks that moved so that pages stay dense.
        relocations,
        /// Values that are pinned for slow readers now.
        lent,
        /// Bytes of those whose entries are gone.
        orphaned_bytes,
        /// Pins revoked because such bytes were too many, or by a flush.
        revoked,
        /// Evictions beyond the bound that one put keeps to. Expected to stay 0.
        forced,
    }
}
