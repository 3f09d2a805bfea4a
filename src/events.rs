//! What happens to entries that nobody asked for by their key, sampled for subscribers.
//!
//! A sample holds every k-th event of its kind since it was taken last. k is 1 until the sample is
//! full; then every second of what it holds goes, and k doubles. So a sample says how many events
//! each of its own stands for, and however many there are, it takes the same memory.

mod past;

pub use past::{Past, Position};

/// Something that can be subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Evicted,
    Expired,
    Flushed,
    PrefixDeleted,
    Snapshot,
}

impl Kind {
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Evicted, "evicted"),
        (Self::Expired, "expired"),
        (Self::Flushed, "flushed"),
        (Self::PrefixDeleted, "prefix_deleted"),
        (Self::Snapshot, "snapshot"),
    ];

    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// A number for each kind.
pub type PerKind = [u64; Kind::ALL.len()];

/// Some of the kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds([bool; Kind::ALL.len()]);

impl Kinds {
    pub const ALL: Self = Self([true; Kind::ALL.len()]);

    /// Those of a list of names with commas between them. `None` where one is not known.
    #[must_use]
    pub fn named(list: &[u8]) -> Option<Self> {
        let mut kinds = Self([false; Kind::ALL.len()]);
        for name in list.split(|&byte| byte == b',') {
            let at = Kind::ALL.iter().position(|(_, known)| known.as_bytes() == name)?;
            kinds.0[at] = true;
        }
        Some(kinds)
    }

    #[must_use]
    pub fn include(self, kind: Kind) -> bool {
        self.0[kind as usize]
    }
}

/// One event of a sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub kind: Kind,
    /// The key, or how the keys began.
    pub subject: Box<[u8]>,
    /// Entries that went.
    pub entries: u64,
    /// How many events it stands for.
    pub one_in: u64,
}

/// Events in one sample. Even, so that what stays of a full one goes on as it began.
const NOTES_MAX: usize = 16;

#[derive(Debug)]
struct Sample {
    notes: Vec<(Box<[u8]>, u64)>,
    seen: u64,
    one_in: u64,
}

impl Sample {
    const EMPTY: Self = Self { notes: Vec::new(), seen: 0, one_in: 1 };

    fn note(&mut self, subject: &[u8], entries: u64) {
        let place = self.seen;
        self.seen += 1;
        if !place.is_multiple_of(self.one_in) {
            return;
        }
        if self.notes.len() == NOTES_MAX {
            let mut at = 0;
            self.notes.retain(|_| {
                at += 1;
                at % 2 == 1
            });
            self.one_in *= 2;
        }
        self.notes.push((subject.into(), entries));
    }
}

/// A sample of each kind.
#[derive(Debug)]
pub struct Samples([Sample; Kind::ALL.len()]);

impl Default for Samples {
    fn default() -> Self {
        Self([const { Sample::EMPTY }; Kind::ALL.len()])
    }
}

impl Samples {
    /// Takes note of an event, or leaves it out.
    #[cold]
    pub fn note(&mut self, kind: Kind, subject: &[u8], entries: u64) {
        self.0[kind as usize].note(subject, entries);
    }

    /// What was noted since the last time.
    pub fn take(&mut self) -> Vec<Note> {
        let mut taken = Vec::new();
        for ((kind, _), sample) in Kind::ALL.into_iter().zip(&mut self.0) {
            let Sample { notes, one_in, .. } = std::mem::replace(sample, Sample::EMPTY);
            let note = |(subject, entries)| Note { kind, subject, entries, one_in };
            taken.extend(notes.into_iter().map(note));
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, Kinds, NOTES_MAX, Samples};

    #[test]
    fn a_sample_holds_every_kth_event_and_says_so() {
        for (count, one_in) in [(1, 1), (16, 1), (17, 2), (32, 2), (33, 4), (1000, 64)] {
            let mut samples = Samples::default();
            for number in 0..count {
                samples.note(Kind::Evicted, &u64::to_be_bytes(number), number);
            }
            samples.note(Kind::Expired, b"another", 1);
            let mut taken = samples.take();
            let other = taken.pop().unwrap();
            assert_eq!(
                (other.kind, &*other.subject, other.one_in),
                (Kind::Expired, &b"another"[..], 1)
            );
            let found: Vec<u64> = taken.iter().map(|note| note.entries).collect();
            let expected: Vec<u64> = (0..count).step_by(usize::try_from(one_in).unwrap()).collect();
            assert_eq!(found, expected, "{count}");
            assert!(found.len() <= NOTES_MAX);
            for note in &taken {
                assert_eq!((note.kind, note.one_in), (Kind::Evicted, one_in), "{count}");
                assert_eq!(*note.subject, note.entries.to_be_bytes());
            }
            assert!(samples.take().is_empty(), "what was taken is gone");
        }
    }

    #[test]
    fn kinds_are_named_in_a_list() {
        let kinds = Kinds::named(b"expired,snapshot").unwrap();
        let included = Kind::ALL.map(|(kind, _)| kinds.include(kind));
        assert_eq!(included, [false, true, false, false, true]);
        for unknown in ["", "evicted,", "evicted, expired", "Evicted", "evict"] {
            assert_eq!(Kinds::named(unknown.as_bytes()), None, "{unknown}");
        }
        assert!(Kind::ALL.into_iter().all(|(kind, _)| Kinds::ALL.include(kind)));
    }
}
