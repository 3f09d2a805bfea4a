//! A store beside a plain map and a plain queue: programs of steps, and what each must come to.
//!
//! A program is decoded from bytes, so that random numbers and a fuzzer make the same ones. When a
//! step fails, the program up to it is printed as a call of [`play`].
//!
//! The model knows nothing of what an entry costs: it is told how many entries were evicted. For
//! LRU it knows which ones they must have been; for the other rules it takes note of what is gone,
//! and holds that to the number of evictions.

mod held;
mod run;

use kvcache::store::{CONTENT_TYPE_BYTES_MAX, Eviction};
use run::Run;

/// Instants from here on are not reached: 2^39 milliseconds are 17 years.
const NEVER: u64 = (1 << 39) - 1;
/// Versions from here on are hashes of the value, which go when there is room for others.
const CONTENT_VERSION: u64 = 1 << 63;
/// Tags there are.
const TAGS: u8 = 40;
/// Invalidated tags that wait for their sweep, and leases, that the smallest store has room for.
const TAGS_WAITING: u32 = 32;
const LEASES_HELD: usize = 4;
const KIB: usize = 1 << 10;
/// Values up to this length are never too large.
const ACCEPTED_BYTES: usize = 64 * KIB;
/// Steps after which the usual length of a value doubles, up to 2 KiB; then it starts again.
const DRIFT_STEPS: usize = 2_000;
/// Steps between two looks at every key.
const CHECK_STEPS: usize = 500;
/// Pinned values at once.
const PINS_MAX: usize = 12;
/// The longest value that a read takes whole, if it is not of one slot.
const READ_BYTES_MAX: usize = 20_000;

/// The store that a program runs on.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) eviction: &'static str,
    pub(crate) memory_kib: usize,
    pub(crate) key_bytes_max: usize,
    pub(crate) entries_max: usize,
    /// Keeps these bits of each hash, so that some programs are full of collisions.
    pub(crate) hash_mask: u64,
    pub(crate) start_ms: u64,
}

/// One step. A time of 0 is none; `fill` picks the bytes of a value, each bit of `tags` a tag.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Wait {
        ms: u64,
    },
    Get {
        id: u32,
    },
    Peek {
        id: u32,
    },
    Read {
        id: u32,
        only: If,
        lease_ms: u64,
        is_use: bool,
        details: bool,
    },
    Put {
        id: u32,
        len: usize,
        fill: u8,
        ttl_ms: u64,
    },
    Write {
        id: u32,
        len: usize,
        fill: u8,
        ttl_ms: u64,
        only: If,
        type_bytes: usize,
        tags: u64,
        stale_ms: u64,
    },
    Touch {
        id: u32,
        ttl_ms: u64,
        only: If,
    },
    Add {
        id: u32,
        by: i64,
        only: If,
    },
    Delete {
        id: u32,
    },
    Remove {
        id: u32,
        only: If,
    },
    Pin {
        id: u32,
        above: usize,
    },
    /// Takes a piece of one of the pinned values and, if it is the last, gives it back.
    ReadOn {
        pin: u8,
        from: usize,
        bytes: usize,
        last: bool,
    },
    /// Deletes, or only counts, what shares so many bytes of its id with this one.
    DeletePrefix {
        id: u32,
        bytes: usize,
        dry_run: bool,
        steps: u32,
    },
    Invalidate {
        tag: u8,
    },
    Sweep {
        steps: u32,
    },
    Expire {
        steps: u32,
    },
    MakeRoom {
        bytes: usize,
        steps: u32,
    },
    StartWalk,
    WalkOn {
        entries: u8,
    },
    WalkAll,
    Flush,
}

/// A condition. Of a key whose version was not read, the last three mean `Present`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum If {
    Always,
    Absent,
    Present,
    ItsVersion,
    AnotherVersion,
    NotItsVersion,
}

pub(crate) struct Program {
    setup: Setup,
    steps: Vec<Step>,
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        print(f, &self.setup, &self.steps)
    }
}

/// Writes a program as it can be pasted into a test.
fn print(out: &mut impl std::fmt::Write, setup: &Setup, steps: &[Step]) -> std::fmt::Result {
    writeln!(out, "play(\n    &{setup:?},\n    &[")?;
    for step in steps {
        writeln!(out, "        Step::{},", format!("{step:?}").replace("only: ", "only: If::"))?;
    }
    writeln!(out, "    ],\n);")
}

/// What is left of the bytes of a program. Zeros follow the last.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut taken = [0; N];
        let (head, rest) = self.0.split_at(N.min(self.0.len()));
        taken[..head.len()].copy_from_slice(head);
        self.0 = rest;
        taken
    }

    fn byte(&mut self) -> u8 {
        self.take::<1>()[0]
    }

    fn number(&mut self) -> u32 {
        u32::from(u16::from_le_bytes(self.take()))
    }

    fn id(&mut self, ids: u32) -> u32 {
        let (one, other) = (self.number() % ids, self.number() % ids);
        one.min(other)
    }

    fn len(&mut self, usual: usize) -> usize {
        let (kind, number) = (self.byte(), self.number() as usize);
        match kind {
            // Miri takes seconds for a megabyte.
            0 if cfg!(not(miri)) => number * 16 + number % 17,
            1..4 if cfg!(not(miri)) => number,
            0 => number,
            4..48 => number % (2 * KIB),
            _ => number % (usual + 1),
        }
    }

    fn condition(&mut self) -> If {
        match self.byte() % 8 {
            0 => If::Absent,
            1 => If::Present,
            2 => If::ItsVersion,
            3 => If::AnotherVersion,
            4 => If::NotItsVersion,
            _ => If::Always,
        }
    }

    fn ttl_ms(&mut self) -> u64 {
        match self.byte() % 8 {
            0 => u64::from(self.number() % 5_000 + 1),
            1 => u64::from(self.number() + 1) * 1_500_000,
            2 => u64::MAX,
            _ => 0,
        }
    }

    /// None at most times. One byte more than there may be comes up too.
    fn type_bytes(&mut self) -> usize {
        match self.byte() {
            0..96 => self.number() as usize % (CONTENT_TYPE_BYTES_MAX + 2),
            _ => 0,
        }
    }

    /// None at most times. One more than there may be comes up too.
    fn tags(&mut self) -> u64 {
        let count = (self.byte() % 32).saturating_sub(22);
        (0..count).fold(0, |tags, _| tags | 1 << (self.byte() % TAGS))
    }

    fn stale_ms(&mut self) -> u64 {
        match self.byte() % 4 {
            0 => u64::from(self.number() % 5_000 + 1),
            1 => u64::MAX,
            _ => 0,
        }
    }

    fn lease_ms(&mut self) -> u64 {
        match self.byte() % 4 {
            0 => u64::from(self.number() + 1),
            1 => u64::from(self.number() % 5_000 + 1),
            _ => 0,
        }
    }
}

impl Program {
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        let mut bytes = Bytes(bytes);
        let kind = bytes.byte();
        let collide = kind % 4 == 0;
        let entries_max = 1 + bytes.number() as usize % 400;
        let setup = Setup {
            eviction: match bytes.byte() {
                other @ 0..128 => Eviction::NAMES[usize::from(other) % Eviction::NAMES.len()].0,
                _ => "lru",
            },
            memory_kib: KIB + bytes.number() as usize % (3 * KIB),
            key_bytes_max: [16, 256, KIB][usize::from(bytes.byte() % 3)],
            entries_max: if collide || kind % 8 == 1 { entries_max } else { 0 },
            hash_mask: if collide { [0, 3, !0xffff_ffff][usize::from(kind / 4 % 3)] } else { !0 },
            start_ms: u64::from(bytes.number()) << 21,
        };
        let ids = [16, 300, 3_000, 60_000][usize::from(bytes.byte() % 4)];
        let mut steps = Vec::new();
        while !bytes.0.is_empty() {
            let usual = 16 << (steps.len() / DRIFT_STEPS % 8);
            steps.push(Step::decode(&mut bytes, ids, usual));
        }
        Self { setup, steps }
    }

    pub(crate) fn play(&self) {
        play(&self.setup, &self.steps);
    }
}

impl Step {
    fn decode(bytes: &mut Bytes<'_>, ids: u32, usual: usize) -> Self {
        match bytes.byte() {
            0..52 => Self::Wait { ms: u64::from(bytes.byte()) },
            52 => Self::Invalidate { tag: bytes.byte() % TAGS },
            53..55 => Self::Sweep { steps: u32::from(bytes.byte() >> (bytes.byte() % 8)) },
            55 => Self::DeletePrefix {
                id: bytes.id(ids),
                bytes: 1 + usize::from(bytes.byte() % 4),
                dry_run: bytes.byte() < 128,
                steps: 1 + u32::from(bytes.byte()),
            },
            56 => Self::Wait { ms: u64::from(bytes.number()) * 1_000 },
            57 => Self::StartWalk,
            58..62 => Self::WalkOn { entries: bytes.byte() },
            62 => match bytes.byte() {
                0..16 => Self::Flush,
                _ => Self::WalkAll,
            },
            63..66 => Self::Expire { steps: bytes.number() % 512 },
            66 => Self::MakeRoom {
                bytes: bytes.number() as usize * 8,
                steps: u32::from(bytes.byte()),
            },
            67..120 => Self::Put {
                id: bytes.id(ids),
                len: bytes.len(usual),
                fill: bytes.byte(),
                ttl_ms: bytes.ttl_ms(),
            },
            120..140 => Self::Write {
                id: bytes.id(ids),
                len: bytes.len(usual),
                fill: bytes.byte(),
                ttl_ms: bytes.ttl_ms(),
                only: bytes.condition(),
                type_bytes: bytes.type_bytes(),
                tags: bytes.tags(),
                stale_ms: bytes.stale_ms(),
            },
            140..150 => {
                Self::Touch { id: bytes.id(ids), ttl_ms: bytes.ttl_ms(), only: bytes.condition() }
            }
            150..160 => Self::Add {
                id: bytes.id(ids),
                by: i64::from(bytes.number()) - i64::from(i16::MAX),
                only: bytes.condition(),
            },
            160..190 => Self::Get { id: bytes.id(ids) },
            190..193 => Self::Pin { id: bytes.id(ids), above: bytes.number() as usize },
            193..196 => Self::ReadOn {
                pin: bytes.byte(),
                from: bytes.number() as usize,
                bytes: bytes.number() as usize + 1,
                last: bytes.byte().is_multiple_of(4),
            },
            196..210 => Self::Peek { id: bytes.id(ids) },
            210..232 => {
                let (id, only) = (bytes.id(ids), bytes.condition());
                let (lease_ms, how) = (bytes.lease_ms(), bytes.byte());
                let (is_use, details) = (how < 128, how % 4 > 0);
                Self::Read { id, only, lease_ms, is_use, details }
            }
            232..240 => Self::Remove { id: bytes.id(ids), only: bytes.condition() },
            _ => Self::Delete { id: bytes.id(ids) },
        }
    }
}

/// Runs a program. Panics at the first step that does not come to what it must.
pub(crate) fn play(setup: &Setup, steps: &[Step]) {
    /// Prints the steps that were begun.
    struct OnPanic<'a>(&'a Setup, &'a [Step]);
    impl Drop for OnPanic<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                let mut text = String::new();
                print(&mut text, self.0, self.1).expect("a string takes all");
                eprintln!("{text}");
            }
        }
    }
    let mut begun = OnPanic(setup, &[]);
    let mut run = Run::new(setup);
    for (index, &step) in steps.iter().enumerate() {
        begun.1 = &steps[..=index];
        run.step(step);
        if index % CHECK_STEPS == 0 {
            run.check_all();
        }
    }
    run.finish();
}
