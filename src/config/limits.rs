//! The bounds of everything that a client could make grow.

use crate::store::INLINE_BYTES_MAX;
use std::time::Duration;

pub(super) const KIB: usize = 1 << 10;
pub(super) const MIB: usize = 1 << 20;
pub(super) const SHARDS_MAX: usize = 64;
pub(super) const SHARD_BYTES_MIN: usize = MIB;

/// The longest time between two snapshots: a week.
pub(super) const INTERVAL_MAX: Duration = Duration::from_hours(168);

/// The longest time to live: ten years of 365.25 days.
pub const TTL_MAX: Duration = Duration::from_hours(87_660);

/// Bodies of these lengths are compressed: a shorter one gains little, and the time that a longer
/// one takes would be missed by everyone else on its core.
pub const GZIP_BYTES_MIN: usize = KIB;
pub const GZIP_BYTES_MAX: usize = 64 * KIB;

/// What the longest key and the longest value may be set to.
pub const KEY_BYTES_CEILING: usize = KIB;
pub const VALUE_BYTES_CEILING: usize = MIB;

/// The longest tag.
pub const TAG_BYTES_MAX: usize = 64;

/// The bounds of everything that a client could make grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub key_bytes_max: usize,
    pub value_bytes_max: usize,
    pub body_bytes_max: usize,
    pub target_bytes_max: usize,
    /// Request line and fields together.
    pub head_bytes_max: usize,
    pub fields_max: usize,
    /// Empty lines before a request line.
    pub empty_lines_max: usize,
    /// Of one message, all chunks together.
    pub chunk_extension_bytes_max: usize,
    pub trailer_bytes_max: usize,
    /// Answers owed to one connection.
    pub pipeline_depth_max: usize,
    /// One read of a socket.
    pub read_bytes_max: usize,
    /// Unsent answers of one connection before it is no longer read.
    pub output_bytes_max: usize,
    /// A longer value leaves in pieces of at most this; they are in the output one at a time.
    pub piece_bytes_max: usize,
    /// Keys or entries of one batch.
    pub batch_items_max: usize,
    /// The body of one answer to a batch.
    pub reply_bytes_max: usize,
    /// Long answers of one shard that are not sent yet and bodies that are not complete: above
    /// this no further one is begun.
    pub buffered_bytes_max: usize,
    /// A shard where everything waits this long for its turn accepts no more work.
    pub queue_delay_max: Duration,
    /// Requests in flight from one shard to one other.
    pub hop_requests_max: usize,
    /// Bytes in flight from one shard to one other.
    pub hop_bytes_max: usize,
    /// Commands of all clients that wait at one shard, each for what is to be known of its key or
    /// value first.
    pub waiting_commands_max: usize,
    /// Their keys and values.
    pub waiting_bytes_max: usize,
    /// Clients that subscribe to events at a time.
    pub event_readers_max: usize,
    /// Events that are held for subscribers that are slow to read.
    pub events_bytes_max: usize,
    /// Input thrown away after the last answer of a connection that is being closed.
    pub linger_bytes_max: usize,
    /// Two beats more at most: whoever does not leave is gone within a second.
    pub linger_timeout: Duration,
    pub connections_max: usize,
    /// A head, and a body, must each be complete within this time.
    pub read_timeout: Duration,
    pub write_timeout: Duration,
    pub idle_timeout: Duration,
}

impl Limits {
    pub const DEFAULT: Self = Self {
        key_bytes_max: 256,
        value_bytes_max: 256,
        body_bytes_max: body_bytes_default(256, 256),
        target_bytes_max: 8 * KIB,
        head_bytes_max: 16 * KIB,
        fields_max: 64,
        empty_lines_max: 8,
        chunk_extension_bytes_max: KIB,
        trailer_bytes_max: 4 * KIB,
        pipeline_depth_max: 128,
        read_bytes_max: 32 * KIB,
        output_bytes_max: 32 * KIB,
        piece_bytes_max: 32 * KIB,
        batch_items_max: 1000,
        reply_bytes_max: 8 * MIB,
        buffered_bytes_max: 64 * MIB,
        queue_delay_max: Duration::from_millis(500),
        hop_requests_max: 16 * KIB,
        hop_bytes_max: 8 * MIB,
        waiting_commands_max: 4 * KIB,
        waiting_bytes_max: 4 * MIB,
        event_readers_max: 8,
        events_bytes_max: 256 * KIB,
        linger_bytes_max: 64 * KIB,
        linger_timeout: Duration::from_millis(400),
        connections_max: 10_000,
        read_timeout: Duration::from_secs(2),
        write_timeout: Duration::from_secs(2),
        idle_timeout: Duration::from_mins(2),
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Limits {
    /// Bytes of value that come with an answer to one of many requests: a longer one is lent.
    #[must_use]
    pub fn answer_bytes_max(&self) -> usize {
        self.value_bytes_max.min(INLINE_BYTES_MAX)
    }

    /// The relations between limits. The error is the name of the limit that breaks one, `: `, why.
    pub fn check(&self) -> Result<(), String> {
        let put = put_body_bytes(self.key_bytes_max, self.value_bytes_max);
        let target = "/get?key=".len() + self.key_bytes_max.saturating_mul(3);
        let entry = self.key_bytes_max + self.value_bytes_max;
        let relations = [
            ("body-bytes-max", self.body_bytes_max, put, "one put of the largest key and value"),
            ("target-bytes-max", self.target_bytes_max, target, "the longest key, escaped"),
            ("head-bytes-max", self.head_bytes_max, self.target_bytes_max, "the longest target"),
            ("hop-bytes-max", self.hop_bytes_max, entry, "the largest entry"),
            ("hop-bytes-max", self.hop_bytes_max, self.body_bytes_max, "the largest batch"),
            ("hop-requests-max", self.hop_requests_max, self.connections_max, "every connection"),
            ("hop-requests-max", self.hop_requests_max, self.batch_items_max, "the largest batch"),
            ("buffered-bytes-max", self.buffered_bytes_max, self.reply_bytes_max, "one answer"),
            ("buffered-bytes-max", self.buffered_bytes_max, self.body_bytes_max, "one body"),
            ("pipeline-depth-max", self.pipeline_depth_max, 1, "one answer"),
        ];
        for (name, limit, needed, what) in relations {
            if limit < needed {
                return Err(format!("{name}: {limit} is below the {needed} needed for {what}"));
            }
        }
        Ok(())
    }
}

/// The longest JSON body of one put that says nothing superfluous: each byte of key and value may
/// be written as `\u00XX`, and 128 bytes hold names, punctuation, spaces and a `ttl`.
const fn put_body_bytes(key_bytes: usize, value_bytes: usize) -> usize {
    (key_bytes + value_bytes) * 6 + 128
}

pub(super) const fn body_bytes_default(key_bytes: usize, value_bytes: usize) -> usize {
    MIB + put_body_bytes(key_bytes, value_bytes)
}
