//! What one run is like: how many take part, how narrow everything is, how fast time goes.

use fastrand::Rng;
use kvcache::config::{Config, Limits};
use std::time::Duration;

#[expect(clippy::struct_excessive_bools, reason = "runs of every kind are mixed")]
#[derive(Debug)]
pub(crate) struct Profile {
    pub(crate) config: Config,
    pub(crate) machines: usize,
    /// Connections of one machine.
    pub(crate) scripts_max: usize,
    /// Requests of one connection.
    pub(crate) requests_max: usize,
    /// Bytes that a client writes at once, and that may be on their way to the server.
    pub(crate) write_bytes_max: usize,
    pub(crate) window_bytes: usize,
    /// Bytes of output that a socket takes at once.
    pub(crate) send_bytes_max: usize,
    pub(crate) tick_ms_max: u64,
    pub(crate) phase_steps_max: u64,
    /// After so many steps everything is let happen.
    pub(crate) steps_max: u64,
    pub(crate) drain_at: Option<u64>,
    /// Messages of calls may fail to be sent.
    pub(crate) is_lossy: bool,
    /// Many calls are made before the first is answered.
    pub(crate) is_flood: bool,
    /// Some values are lent and leave in pieces.
    pub(crate) is_large: bool,
    /// Something stands behind the stores.
    pub(crate) has_upstream: bool,
}

impl Profile {
    pub(crate) fn draw(random: &mut Rng) -> Self {
        let is_flood = random.u8(..32) == 0;
        let is_large = !is_flood && random.u8(..8) == 0;
        let profile = Self {
            config: Config {
                shards: if is_flood { 2 } else { [1, 2, 2, 2, 2, 2, 3, 3][random.usize(..8)] },
                memory_bytes: 3 << 20,
                limits: limits(random, is_flood),
                ..Config::default()
            },
            machines: random.usize(2..8),
            scripts_max: random.usize(1..5),
            requests_max: random.usize(1..12),
            write_bytes_max: [1, 12, 200, 4000][random.usize(..4)],
            window_bytes: [10, 200, 4000][random.usize(..3)],
            send_bytes_max: [1, 20, 400, 1 << 20][random.usize(..4)],
            tick_ms_max: [1, 10, 200, 700][random.usize(..4)],
            phase_steps_max: [20, 200, 1000][random.usize(..3)],
            steps_max: 10_000,
            drain_at: (random.u8(..3) == 0).then(|| random.u64(..2_000)),
            is_lossy: random.u8(..if is_large { 2 } else { 10 }) == 0,
            is_flood,
            is_large,
            has_upstream: !is_flood && random.u8(..4) == 0,
        };
        if is_large {
            return Self {
                write_bytes_max: 4000,
                window_bytes: 4000,
                send_bytes_max: [400, 3000, 1 << 20][random.usize(..3)],
                config: Config {
                    // Room for every value that a reader keeps: none is revoked.
                    memory_bytes: profile.config.shards << 23,
                    limits: Limits {
                        value_bytes_max: 16 << 10,
                        piece_bytes_max: [300, 2000, 32 << 10][random.usize(..3)],
                        read_bytes_max: Limits::DEFAULT.read_bytes_max,
                        hop_bytes_max: Limits::DEFAULT.hop_bytes_max,
                        ..profile.config.limits
                    },
                    ..profile.config
                },
                ..profile
            };
        }
        if is_flood {
            return Self {
                machines: 24,
                scripts_max: 1,
                requests_max: 40,
                write_bytes_max: 200,
                window_bytes: 4000,
                send_bytes_max: 1 << 20,
                drain_at: None,
                steps_max: 100_000,
                ..profile
            };
        }
        profile
    }
}

fn limits(random: &mut Rng, is_flood: bool) -> Limits {
    if is_flood {
        // About one request at a time.
        return Limits { read_bytes_max: 80, ..Limits::DEFAULT };
    }
    let mut either = |usual: usize, narrow: &[usize]| {
        let choice = random.usize(..=narrow.len() + 1);
        narrow.get(choice).copied().unwrap_or(usual)
    };
    let usual = Limits::DEFAULT;
    let mut limits = Limits {
        pipeline_depth_max: either(usual.pipeline_depth_max, &[1, 2, 4]),
        output_bytes_max: either(usual.output_bytes_max, &[1, 300, 1000]),
        read_bytes_max: either(usual.read_bytes_max, &[1, 40, 200]),
        reply_bytes_max: either(usual.reply_bytes_max, &[150]),
        hop_requests_max: either(usual.hop_requests_max, &[1, 2, 4]),
        hop_bytes_max: either(usual.hop_bytes_max, &[600]),
        waiting_commands_max: either(usual.waiting_commands_max, &[1, 3]),
        linger_bytes_max: either(usual.linger_bytes_max, &[0, 100]),
        ..usual
    };
    if random.bool() {
        limits.idle_timeout = Duration::from_secs(1);
    }
    if random.bool() {
        limits.read_timeout = Duration::from_millis(300);
        limits.write_timeout = Duration::from_millis(600);
    }
    limits
}
