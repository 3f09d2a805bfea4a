//! Two ends of a mesh, each with the owner of its keys, and the messages between them by hand.

use super::{Arrival, Called, Cargo, Home, LATES_MAX, Mesh, Message, owner};
use crate::{
    clock::Millis,
    config::Limits,
    owner::{Call, Decision, Delivery, Fetched, Owner, Upstream},
    store::{Bounds, Key, Op, Read, Reply, Store, Verb},
};
use std::{cell::RefCell, collections::VecDeque, rc::Rc};

const NOW: Millis = Millis(1);

#[derive(Debug)]
struct Plain;

impl Cargo for Plain {
    type Ticket = usize;
    type Query = ();
    type Result = ();
    type Letter = ();

    const LETTERS_MAX: usize = 0;
}

/// Wants to be asked for every read, and has what a test gives it.
#[derive(Clone, Default)]
struct Invented(Rc<RefCell<VecDeque<Delivery>>>);

impl Upstream for Invented {
    fn decide(&mut self, op: &Op<&[u8]>, _is_held: bool) -> Decision {
        if matches!(op.verb, Verb::Write(_)) { Decision::Run } else { Decision::Park }
    }

    fn next(&mut self) -> Option<Delivery> {
        self.0.borrow_mut().pop_front()
    }
}

struct End {
    mesh: Mesh<Plain>,
    home: Home<Plain>,
    /// Tickets, and what came of the call.
    told: Vec<(usize, String)>,
    keeps_pins: bool,
}

fn end(me: usize, limits: &Limits) -> End {
    let bounds = Bounds {
        memory_bytes_max: 8 << 20,
        key_bytes_max: 10,
        value_bytes_max: 100 << 10,
        entries_max: 0,
    };
    let home = Owner::new(Store::new(&bounds), limits);
    End { mesh: Mesh::new(me, 2, limits), home, told: Vec::new(), keeps_pins: false }
}

fn note(told: &mut Vec<(usize, String)>, arrival: &Arrival<'_, Plain>) {
    let text = match arrival {
        Arrival::Reply { key, reply, .. } => {
            assert_eq!(*key, b"a");
            match reply {
                Reply::Value(value) => String::from_utf8_lossy(value).into_owned(),
                Reply::Pinned { bytes, .. } => format!("{bytes} lent"),
                reply => format!("{reply:?}"),
            }
        }
        Arrival::LeftOut { .. } => "left out".into(),
        Arrival::Refused { .. } => "refused".into(),
        Arrival::Failed { .. } => "failed".into(),
        Arrival::Lost { .. } => "lost".into(),
        Arrival::Results { .. } => "results".into(),
    };
    told.push((arrival.ticket(), text));
}

impl End {
    fn call(&mut self, ticket: usize, verb: Verb<&[u8]>) -> Called {
        let op = op(verb);
        let call = Call { op: &op, wants_text: true };
        self.mesh.call(&mut self.home, call, NOW, ticket, |_| {})
    }

    fn call_all(&mut self, count: usize, bytes_max: usize, first: usize) -> Option<usize> {
        let group = vec![op(Verb::get()); count];
        let ticket = |at| first + at;
        self.mesh
            .call_all(&mut self.home, &group, NOW, bytes_max, ticket, |_, _| panic!("all are away"))
    }

    fn work(&mut self) -> bool {
        let Self { mesh, home, told, keeps_pins } = self;
        mesh.work(home, NOW, |arrival| {
            note(told, &arrival);
            *keeps_pins
        })
    }

    fn deliver(&mut self, from: usize, message: Message<Plain>) {
        let Self { mesh, home, told, keeps_pins } = self;
        let incoming = mesh.deliver(home, from, message, NOW, |arrival| {
            note(told, &arrival);
            *keeps_pins
        });
        assert!(incoming.is_none());
    }

    fn deliver_all(&mut self, from: usize, messages: Vec<Message<Plain>>) {
        for message in messages {
            self.deliver(from, message);
        }
    }

    fn flush(&mut self, is_peer_gone: bool) -> Vec<Message<Plain>> {
        let Self { mesh, home, told, .. } = self;
        let mut sent = Vec::new();
        let send = |_, message| {
            if is_peer_gone {
                return Err(message);
            }
            sent.push(message);
            Ok(())
        };
        mesh.flush(home, send, |arrival| {
            note(told, &arrival);
            false
        });
        sent
    }

    fn take_told(&mut self) -> Vec<(usize, String)> {
        std::mem::take(&mut self.told)
    }
}

/// Of the second shard.
fn op(verb: Verb<&[u8]>) -> Op<&[u8]> {
    assert_eq!(owner(b"a", 2), 1);
    Op { key: Key { bytes: b"a", hash: 7 }, verb }
}

fn put(value: &[u8]) -> Verb<&[u8]> {
    Verb::put(value, None)
}

fn pair(limits: &Limits) -> (End, End, Invented) {
    let (one, mut two) = (end(0, limits), end(1, limits));
    let upstream = Invented::default();
    two.home.set_upstream(Box::new(upstream.clone()));
    (one, two, upstream)
}

/// Carries messages until none is left.
fn settle(one: &mut End, two: &mut End) {
    loop {
        two.work();
        let (there, back) = (one.flush(false), two.flush(false));
        if there.is_empty() && back.is_empty() {
            return;
        }
        two.deliver_all(0, there);
        one.deliver_all(1, back);
    }
}

fn has(upstream: &Invented, fetched: Fetched) {
    upstream.0.borrow_mut().push_back(Delivery { key: b"a".to_vec(), fetched });
}

fn value(bytes: usize) -> Fetched {
    Fetched::Value { value: vec![b'v'; bytes], ttl_ms: None, stays: true }
}

fn told(told: &[(usize, String)]) -> Vec<(usize, &str)> {
    told.iter().map(|(ticket, text)| (*ticket, text.as_str())).collect()
}

#[test]
fn the_replies_to_one_group_pass_their_bound_by_at_most_one() {
    let (mut one, mut two) = (end(0, &Limits::DEFAULT), end(1, &Limits::DEFAULT));
    assert_eq!(two.call(0, put(&[b'v'; 100])), Called::Here);
    one.call(0, Verb::get());
    assert_eq!(one.call_all(4, 150, 10), Some(4));
    one.call(1, Verb::get());
    assert_eq!(one.call_all(4, 399, 20), Some(4));
    one.call(2, Verb::get());
    let sent = one.flush(false);
    assert_eq!(sent.len(), 1, "all calls of a turn are one message");
    two.deliver_all(0, sent);
    one.deliver_all(1, two.flush(false));
    let arrived = one.take_told();
    let found = arrived.iter().filter(|(_, text)| text.len() == 100);
    let found: Vec<usize> = found.map(|(ticket, _)| *ticket).collect();
    assert_eq!(found, [0, 10, 11, 1, 20, 21, 22, 23, 2]);
    assert_eq!(arrived.len(), 11);
    assert!(one.mesh.is_quiet());
}

#[test]
fn late_replies_count_for_the_bound_of_their_group() {
    let (mut one, mut two, upstream) = pair(&Limits::DEFAULT);
    assert_eq!(one.call_all(4, 150, 10), Some(4));
    settle(&mut one, &mut two);
    assert!(one.take_told().is_empty() && !one.mesh.is_quiet());
    has(&upstream, value(100));
    settle(&mut one, &mut two);
    let arrived = one.take_told();
    let lengths: Vec<_> = arrived.iter().map(|(ticket, text)| (*ticket, text.len())).collect();
    assert_eq!(lengths, [(10, 100), (11, 100), (12, "left out".len()), (13, "left out".len())]);
    assert!(one.mesh.is_quiet() && two.mesh.is_quiet() && two.home.is_idle());
}

#[test]
fn a_call_that_waits_holds_no_message_and_keeps_its_room() {
    let limits = Limits { hop_requests_max: 2, ..Limits::DEFAULT };
    let (mut one, mut two, upstream) = pair(&limits);
    assert_eq!(one.call(1, Verb::get()), Called::Away);
    settle(&mut one, &mut two);
    assert_eq!(one.mesh.peers[1].messages_in_flight, 0);
    assert_eq!((one.mesh.peers[1].calls, one.mesh.peers[1].bytes), (1, 1));
    assert_eq!(one.call(2, put(b"x")), Called::Away);
    assert_eq!(one.call(3, Verb::get()), Called::Refused);
    settle(&mut one, &mut two);
    assert!(one.take_told().is_empty(), "what was sent later stands in line");
    has(&upstream, Fetched::Nothing);
    settle(&mut one, &mut two);
    assert_eq!(told(&one.take_told()), [(1, "Absent"), (2, "Created")]);
    assert_eq!((one.mesh.peers[1].calls, one.mesh.peers[1].bytes), (0, 0));
    assert!(one.mesh.is_quiet() && two.mesh.is_quiet());
}

#[test]
fn late_replies_gather_while_as_many_messages_as_may_be_are_under_way() {
    let (mut one, mut two, upstream) = pair(&Limits::DEFAULT);
    let mut held = Vec::new();
    for ticket in 0..LATES_MAX + 3 {
        one.call(ticket, Verb::get());
        two.deliver_all(0, one.flush(false));
        has(&upstream, value(1));
        two.work();
        held.extend(two.flush(false));
    }
    let lates = held.iter().filter(|message| matches!(message, Message::Late(_))).count();
    assert_eq!((lates, held.len()), (LATES_MAX, 2 * LATES_MAX + 3));
    one.deliver_all(1, held);
    assert_eq!(one.take_told().len(), LATES_MAX);
    settle(&mut one, &mut two);
    assert_eq!(one.take_told().len(), 3);
    assert!(one.mesh.is_quiet() && two.mesh.is_quiet());
}

#[test]
fn what_waits_at_a_peer_that_is_gone_is_lost() {
    let (mut one, mut two, upstream) = pair(&Limits::DEFAULT);
    one.call(1, Verb::Read(Read { pin_above: 10, ..Read::VALUE }));
    settle(&mut one, &mut two);
    one.call(2, put(b"x"));
    assert!(one.flush(true).is_empty());
    let mut lost = one.take_told();
    lost.sort();
    assert_eq!(told(&lost), [(1, "lost"), (2, "lost")]);
    assert!(one.mesh.is_quiet());
    // Should it be there after all, its late reply finds nobody and the pin goes back.
    has(&upstream, value(50 << 10));
    one.keeps_pins = true;
    for _ in 0..3 {
        settle(&mut one, &mut two);
    }
    assert!(one.take_told().is_empty());
    assert_eq!(two.home.store().stats().lent, 0);
    assert!(one.mesh.is_quiet() && two.mesh.is_quiet() && two.home.is_idle());
}

#[test]
fn late_replies_to_a_peer_that_is_gone_give_their_pins_back() {
    let (mut one, mut two, upstream) = pair(&Limits::DEFAULT);
    one.call(1, Verb::Read(Read { pin_above: 10, ..Read::VALUE }));
    settle(&mut one, &mut two);
    has(&upstream, value(50 << 10));
    while two.work() {}
    assert_eq!(two.home.store().stats().lent, 1);
    assert!(two.flush(true).is_empty());
    assert_eq!(two.home.store().stats().lent, 0);
    assert!(two.mesh.is_quiet());
}

#[test]
fn a_failure_and_a_refusal_reach_their_callers() {
    let limits = Limits { waiting_commands_max: 1, ..Limits::DEFAULT };
    let (mut one, mut two, upstream) = pair(&limits);
    one.call(1, Verb::get());
    one.call(2, Verb::get());
    settle(&mut one, &mut two);
    has(&upstream, Fetched::Failed);
    settle(&mut one, &mut two);
    assert_eq!(told(&one.take_told()), [(2, "refused"), (1, "failed")]);
    assert!(one.mesh.is_quiet());
}

#[test]
fn a_call_of_the_owners_own_shard_may_wait_as_well() {
    let (_one, mut two, upstream) = pair(&Limits::DEFAULT);
    assert_eq!(two.call(1, Verb::Read(Read { pin_above: 10, ..Read::VALUE })), Called::Away);
    assert_eq!(two.call(2, put(b"x")), Called::Away);
    has(&upstream, value(50 << 10));
    two.keeps_pins = true;
    while two.work() {}
    assert_eq!(told(&two.take_told()), [(2, "Replaced"), (1, "51200 lent")]);
    assert_eq!(two.home.store().stats().lent, 1);
    assert!(two.mesh.is_quiet() && two.home.is_idle());
}
