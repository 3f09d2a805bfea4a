//! Commands that wait: in what order they run, what they find, and what is refused.

use super::{
    Call, Callers, Decision, Delivery, Done, Fetched, Late, Owner, Upstream, measure::SLICE_BYTES,
};
use crate::{
    clock::Millis,
    config::Limits,
    store::{Bounds, Key, Op, Pin, Read, Reply, Store, Verb},
    text::Text,
};
use std::{cell::RefCell, collections::VecDeque, rc::Rc};

const NOW: Millis = Millis(1);

/// Wants to be asked for every key that is not there, and has what a test gives it.
#[derive(Clone, Default)]
struct Invented(Rc<RefCell<VecDeque<Delivery>>>);

impl Invented {
    fn has(&self, key: &[u8], fetched: Fetched) {
        self.0.borrow_mut().push_back(Delivery { key: key.to_vec(), fetched });
    }
}

impl Upstream for Invented {
    fn decide(&mut self, op: &Op<&[u8]>, is_held: bool) -> Decision {
        match op.verb {
            _ if op.key.bytes == b"forbidden" => Decision::Refuse,
            Verb::Read(_) if !is_held => Decision::Park,
            _ => Decision::Run,
        }
    }

    fn next(&mut self) -> Option<Delivery> {
        self.0.borrow_mut().pop_front()
    }
}

/// What callers were told, in order.
#[derive(Default)]
struct Told {
    replies: Vec<(u8, String)>,
    texts: Vec<Text>,
    pins: Vec<Pin>,
    /// These want no reply any more.
    gone: Vec<u8>,
    keeps_pins: bool,
}

impl Callers<u8> for Told {
    fn may_run(&mut self, caller: &u8) -> bool {
        !self.gone.contains(caller)
    }

    fn tell(&mut self, caller: u8, key: &[u8], late: Late<'_>) -> bool {
        assert!(key.starts_with(b"k"), "each is told its key");
        let text = match late {
            Late::Reply { reply, text } => {
                self.texts.extend(text);
                self.pins.extend(reply.pin());
                said(&reply)
            }
            Late::LeftOut => "left out".into(),
            Late::Failed => "failed".into(),
        };
        self.replies.push((caller, text));
        self.keeps_pins
    }
}

fn said(reply: &Reply<&[u8]>) -> String {
    match reply {
        Reply::Value(value) => String::from_utf8_lossy(value).into_owned(),
        Reply::Pinned { bytes, .. } => format!("{bytes} lent"),
        reply => format!("{reply:?}"),
    }
}

fn owner(limits: &Limits) -> (Owner<u8>, Invented) {
    let bounds = Bounds {
        memory_bytes_max: 8 << 20,
        key_bytes_max: 10,
        value_bytes_max: 1 << 20,
        entries_max: 0,
    };
    let (mut owner, upstream) = (Owner::new(Store::new(&bounds), limits), Invented::default());
    owner.set_upstream(Box::new(upstream.clone()));
    (owner, upstream)
}

fn op<'a>(key: &'a [u8], verb: Verb<&'a [u8]>) -> Op<&'a [u8]> {
    Op { key: Key { bytes: key, hash: u64::from(key[key.len() - 1]) << 40 }, verb }
}

fn run(owner: &mut Owner<u8>, caller: u8, op: Op<&[u8]>) -> Done<String> {
    owner.run(Call { op: &op, wants_text: true }, NOW, || caller, said)
}

fn put(value: &[u8]) -> Verb<&[u8]> {
    Verb::put(value, None)
}

fn value(value: &[u8], stays: bool) -> Fetched {
    Fetched::Value { value: value.to_vec(), ttl_ms: None, stays }
}

fn texts(told: &Told) -> Vec<(u8, &str)> {
    told.replies.iter().map(|(caller, text)| (*caller, text.as_str())).collect()
}

#[test]
fn what_is_parked_runs_in_the_order_it_came() {
    let (mut owner, upstream) = owner(&Limits::DEFAULT);
    assert_eq!(run(&mut owner, 1, op(b"k", Verb::get())), Done::Later);
    assert_eq!(run(&mut owner, 2, op(b"k", put(b"new"))), Done::Later, "it stands in line");
    assert_eq!(run(&mut owner, 3, op(b"k", Verb::get())), Done::Later);
    assert_eq!(run(&mut owner, 4, op(b"other", put(b"1"))), Done::Now("Created".into()));
    let mut told = Told::default();
    assert!(!owner.work(NOW, &mut told));
    assert!(told.replies.is_empty() && owner.waiting() == 3);
    upstream.has(b"unknown", Fetched::Nothing);
    upstream.has(b"k", value(b"old", true));
    owner.work(NOW, &mut told);
    assert_eq!(texts(&told), [(1, "old"), (2, "Replaced"), (3, "new")]);
    assert!(owner.is_idle());
    assert_eq!(run(&mut owner, 5, op(b"k", Verb::get())), Done::Now("new".into()));
}

#[test]
fn what_is_nowhere_is_absent_and_runs_on() {
    let (mut owner, upstream) = owner(&Limits::DEFAULT);
    for caller in [1, 3] {
        assert_eq!(run(&mut owner, caller, op(b"k", Verb::get())), Done::Later);
        assert_eq!(run(&mut owner, caller + 1, op(b"k", Verb::delete())), Done::Later);
    }
    upstream.has(b"k", Fetched::Nothing);
    let mut told = Told { gone: vec![3], ..Told::default() };
    owner.work(NOW, &mut told);
    assert_eq!(texts(&told), [(1, "Absent"), (2, "Absent"), (3, "left out"), (4, "Absent")]);
    assert!(owner.is_idle());
}

#[test]
fn only_who_needs_the_upstream_fails_with_it() {
    let (mut owner, upstream) = owner(&Limits::DEFAULT);
    for (caller, verb) in [(1, Verb::get()), (2, put(b"x")), (3, Verb::get())] {
        assert_eq!(run(&mut owner, caller, op(b"k", verb)), Done::Later);
    }
    upstream.has(b"k", Fetched::Failed);
    let mut told = Told::default();
    owner.work(NOW, &mut told);
    assert_eq!(texts(&told), [(1, "failed"), (2, "Created"), (3, "x")]);
}

#[test]
fn what_may_not_stay_is_there_for_one_turn() {
    let (mut owner, upstream) = owner(&Limits::DEFAULT);
    let mut told = Told::default();
    for (key, then) in [(b"k1", None), (b"k2", Some(put(b"mine"))), (b"k3", Some(Verb::delete()))] {
        run(&mut owner, key[1], op(key, Verb::get()));
        upstream.has(key, value(b"fill", false));
        owner.work(NOW, &mut told);
        assert_eq!(run(&mut owner, 9, op(key, Verb::get())), Done::Now("fill".into()));
        if let Some(verb) = then {
            assert!(matches!(run(&mut owner, 9, op(key, verb)), Done::Now(_)));
        }
        owner.work(NOW, &mut told);
    }
    assert_eq!(owner.store().stats().entries, 1, "what was put since then stays");
    assert_eq!(run(&mut owner, 9, op(b"k2", Verb::get())), Done::Now("mine".into()));
    assert_eq!(run(&mut owner, 9, op(b"k1", Verb::get())), Done::Later);
}

#[test]
fn a_fill_that_may_not_stay_is_kept_by_who_has_pinned_it() {
    let (mut owner, upstream) = owner(&Limits::DEFAULT);
    let long = vec![b'v'; 3 * SLICE_BYTES];
    run(&mut owner, 1, op(b"k", Verb::Read(Read { pin_above: 100, ..Read::VALUE })));
    upstream.has(b"k", value(&long, false));
    let mut told = Told { keeps_pins: true, ..Told::default() };
    while owner.work(NOW, &mut told) {}
    assert_eq!(owner.store().stats().entries, 0);
    assert_eq!(told.texts, [Text::of([&long[..]])]);
    let piece = Verb::Piece { pin: told.pins[0], from: long.len() - 1, bytes: 9 };
    assert!(matches!(run(&mut owner, 9, op(b"k", piece)), Done::Now(text) if text.contains("118")));
}

#[test]
fn more_than_may_wait_is_refused() {
    let limits = Limits { waiting_commands_max: 2, ..Limits::DEFAULT };
    let (mut owner, upstream) = owner(&limits);
    assert_eq!(run(&mut owner, 0, op(b"forbidden", Verb::get())), Done::Refused);
    let mut told = Told::default();
    for _ in 0..2 {
        assert_eq!(run(&mut owner, 1, op(b"k1", Verb::get())), Done::Later);
        assert_eq!(run(&mut owner, 2, op(b"k2", Verb::get())), Done::Later);
        assert_eq!(run(&mut owner, 3, op(b"k1", put(b"x"))), Done::Refused);
        assert!(run(&mut owner, 4, op(b"k4", put(b"x"))).is_now());
        for key in [b"k1", b"k2"] {
            upstream.has(key, Fetched::Nothing);
        }
        owner.work(NOW, &mut told);
    }
    assert_eq!(told.replies.len(), 4);
    let limits = Limits { waiting_bytes_max: 600, ..Limits::DEFAULT };
    let (mut owner, _upstream) = self::owner(&limits);
    assert_eq!(run(&mut owner, 1, op(b"k", Verb::get())), Done::Later);
    assert_eq!(run(&mut owner, 2, op(b"k", put(&[0; 100]))), Done::Refused);
    assert_eq!(run(&mut owner, 3, op(b"k", put(&[0; 10]))), Done::Later);
}

impl<R> Done<R> {
    fn is_now(&self) -> bool {
        matches!(self, Self::Now(_))
    }
}

/// Text with characters of every length, and cuts inside of them.
fn long_text() -> Vec<u8> {
    "a\"é\u{2028}😀\n".repeat(20_000).into_bytes()
}

#[test]
fn a_pinned_value_is_measured_in_slices() {
    let (mut owner, _upstream) = owner(&Limits::DEFAULT);
    let text = long_text();
    assert!(run(&mut owner, 0, op(b"k", put(&text))).is_now());
    let lend = op(b"k", Verb::Read(Read { pin_above: 100, ..Read::VALUE }));
    assert_eq!(run(&mut owner, 1, lend), Done::Later);
    assert!(run(&mut owner, 0, op(b"k", put(b"short"))).is_now(), "the value stays pinned");
    assert_eq!(run(&mut owner, 2, lend), Done::Now("short".into()), "nobody waits for it");
    let mut told = Told { keeps_pins: true, ..Told::default() };
    for _ in 0..text.len() / SLICE_BYTES {
        assert!(owner.work(NOW, &mut told));
        assert!(told.replies.is_empty());
    }
    assert!(!owner.work(NOW, &mut told));
    assert_eq!(told.texts, [Text::of([&text[..]])]);
    assert_eq!(owner.store().stats().lent, 1);
    let call = Call { op: &lend, wants_text: false };
    assert_eq!(owner.run(call, NOW, || 3, said), Done::Now("short".into()));
}

#[test]
fn nobody_keeps_the_pin_of_a_measure_that_is_not_awaited() {
    let limits = Limits { waiting_commands_max: 1, ..Limits::DEFAULT };
    let (mut owner, _upstream) = owner(&limits);
    assert!(run(&mut owner, 0, op(b"k", put(&long_text()))).is_now());
    let lend = op(b"k", Verb::Read(Read { pin_above: 100, ..Read::VALUE }));
    assert_eq!(run(&mut owner, 1, lend), Done::Later);
    assert_eq!(run(&mut owner, 2, lend), Done::Refused);
    let mut told = Told::default();
    while owner.work(NOW, &mut told) {}
    assert_eq!(told.replies.len(), 1);
    assert_eq!(owner.store().stats().lent, 0);
}

#[test]
fn a_value_that_is_gone_before_it_is_measured_was_not_read() {
    let (mut owner, _upstream) = owner(&Limits::DEFAULT);
    assert!(run(&mut owner, 0, op(b"k", put(&long_text()))).is_now());
    assert_eq!(
        run(&mut owner, 1, op(b"k", Verb::Read(Read { pin_above: 100, ..Read::VALUE }))),
        Done::Later
    );
    let mut told = Told::default();
    assert!(owner.work(NOW, &mut told));
    owner.store_mut().flush();
    assert!(!owner.work(NOW, &mut told));
    assert_eq!(texts(&told), [(1, "Absent")]);
    assert!(owner.is_idle());
}
