//! Who may write what is missing: leases on keys, for a time.
//!
//! ```text
//! bucket   | hash u64, ends u64 | x 4 |     64 bytes; ended rows are free
//! ```
//!
//! A key is known by its hash alone. Where a bucket is full, the lease that ends first is dropped:
//! its key then has two writers, which costs work and breaks nothing.

use super::op::Lease;
use crate::clock::Millis;
use std::num::NonZeroU64;

/// Leases at once, and the budget for each.
const LEASES_MAX: usize = 1 << 14;
const BUDGET_BYTES_PER_LEASE: usize = 16 << 10;
const WAYS: usize = 4;

#[derive(Clone, Copy, Default)]
struct Row {
    hash: u64,
    ends: u64,
}

const _: () = assert!(size_of::<[Row; WAYS]>() == 64);

pub(super) struct Leases {
    buckets: Vec<[Row; WAYS]>,
    /// No lease ends later: what keeps a put from looking while there is none.
    last_end: u64,
}

impl Leases {
    pub(super) fn new(budget: usize) -> Self {
        Self { buckets: vec![Default::default(); bucket_count(budget)], last_end: 0 }
    }

    /// Bytes that `new` allocates.
    pub(super) fn table_bytes(budget: usize) -> usize {
        bucket_count(budget) * size_of::<[Row; WAYS]>()
    }

    /// Lets the first who asks write the key, for `lease_ms`.
    pub(super) fn ask(&mut self, hash: u64, lease_ms: NonZeroU64, now: Millis) -> Lease {
        let bucket = self.bucket(hash);
        let own = bucket.iter().position(|row| row.hash == hash);
        if let Some(left) = own.and_then(|own| bucket[own].ends.checked_sub(now.0))
            && let Some(left_ms) = NonZeroU64::new(left)
        {
            return Lease::Taken { left_ms };
        }
        let ends = now.0.saturating_add(lease_ms.get());
        let first = (0..WAYS).min_by_key(|&way| bucket[way].ends).expect("a bucket has rows");
        bucket[own.unwrap_or(first)] = Row { hash, ends };
        self.last_end = self.last_end.max(ends);
        Lease::Granted
    }

    /// The key was written.
    #[inline]
    pub(super) fn end(&mut self, hash: u64, now: Millis) {
        if now.0 < self.last_end
            && let Some(row) = self.bucket(hash).iter_mut().find(|row| row.hash == hash)
        {
            row.ends = 0;
        }
    }

    pub(super) fn clear(&mut self) {
        self.buckets.fill(Default::default());
        self.last_end = 0;
    }

    fn bucket(&mut self, hash: u64) -> &mut [Row; WAYS] {
        let last = self.buckets.len() - 1;
        &mut self.buckets[place(hash) & last]
    }

    #[cfg(any(test, debug_assertions))]
    pub(super) fn check(&self) {
        for (number, bucket) in self.buckets.iter().enumerate() {
            for (way, row) in bucket.iter().enumerate().filter(|(_, row)| row.ends > 0) {
                assert!(row.ends <= self.last_end);
                assert_eq!(place(row.hash) & (self.buckets.len() - 1), number);
                assert!(
                    bucket[..way].iter().all(|other| other.ends == 0 || other.hash != row.hash)
                );
            }
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a hash is cut on purpose")]
fn place(hash: u64) -> usize {
    hash as usize
}

fn bucket_count(budget: usize) -> usize {
    let rows = (budget / BUDGET_BYTES_PER_LEASE).next_power_of_two();
    rows.min(LEASES_MAX) / WAYS
}
