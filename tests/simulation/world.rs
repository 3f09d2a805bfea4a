//! Shards, the channels between them, sockets and clients under one scheduler.
//!
//! A step is one thing that happens to one of them.

mod verdict;
mod clients;

use crate::{
    client::{Client, Moment, OwnSide, ServerSide, Sighting},
    coverage::Coverage,
    profile::Profile,
    scheduler::{Action, Scheduler},
    script::{Author, Ending, Script, Value},
    upstream::{Invented, Told},
};
use fastrand::Rng;
use kvcache::{
    clock::Millis,
    config::Limits,
    mesh,
    shard::{BEAT_MAX_MS, CHANNEL_MESSAGES_MAX, ConnectionId, Message, Shard},
    store::KeyHasher,
};
use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, SystemTime},
};

/// A shard and what a driver keeps beside it.
struct Core {
    shard: Shard,
    /// The client of each slot.
    sockets: Vec<usize>,
    listed: Vec<ConnectionId>,
    /// There may be something to flush.
    dirty: bool,
    /// Something happened since the last turn began, or that turn left something to do.
    busy: bool,
    draining: bool,
    /// The shard's own reckoning of deadlines.
    beat_ms: u64,
    last_beat_ms: u64,
    upstream: Option<Invented>,
}

impl Core {
    fn is_attended(&self) -> bool {
        self.listed.is_empty() && !self.shard.has_listed()
    }
}

/// What checks are made against.
struct Facts {
    step: u64,
    clocks: Vec<u64>,
    keys: Vec<&'static str>,
    owners: Vec<usize>,
    values: Vec<Value>,
    /// The last entity tag that anybody saw of each key.
    seen: Vec<Option<Sighting>>,
    /// The value of each tag that anybody saw.
    tags: HashMap<String, usize>,
    lossy: bool,
    has_upstream: bool,
}

impl Facts {
    fn moment(&self, core: &Core) -> Moment<'_> {
        Moment {
            step: self.step,
            clocks: &self.clocks,
            keys: &self.keys,
            owners: &self.owners,
            values: &self.values,
            beat_ms: core.beat_ms,
            draining: core.draining,
            lossy: self.lossy,
            has_upstream: self.has_upstream,
        }
    }
}

/// A channel from one shard to one other.
#[derive(Default)]
struct Wire {
    messages: VecDeque<Message>,
    /// Messages of calls whose replies have not come back.
    calls_in_flight: usize,
}

/// One client machine: its connections, one after the other.
struct Machine {
    scripts: Vec<Script>,
    client: Option<usize>,
}

const STEPS_MAX: u64 = 1_000_000;

/// Values that one upstream has.
const FILLS: usize = 12;

pub(crate) struct World {
    random: Rng,
    profile: Profile,
    limits: Limits,
    facts: Facts,
    cores: Vec<Core>,
    /// By sender, then receiver.
    wires: Vec<Vec<Wire>>,
    machines: Vec<Machine>,
    clients: Vec<Client>,
    now_ms: u64,
    scheduler: Scheduler,
    /// Nothing hinders anybody and time stands still.
    calm: bool,
    /// Clients that wait for the server leave.
    farewell: bool,
    actions: Vec<Action>,
    pub(crate) coverage: Coverage,
    is_traced: bool,
}

impl World {
    pub(crate) fn new(seed: u64, is_traced: bool) -> Self {
        let mut random = Rng::with_seed(seed);
        let profile = Profile::draw(&mut random);
        if is_traced {
            eprintln!("{profile:#?}");
        }
        let shards = profile.config.shards;
        let now_ms = random.u64(..100_000);
        let core = |me| Core {
            shard: Shard::new(
                me,
                profile.config.clone(),
                KeyHasher::with_seed(seed),
                Millis(now_ms),
                date(now_ms),
            ),
            sockets: Vec::new(),
            listed: Vec::new(),
            dirty: false,
            busy: false,
            draining: false,
            beat_ms: now_ms,
            last_beat_ms: now_ms,
            upstream: None,
        };
        let mut cores: Vec<Core> = (0..shards).map(core).collect();
        let mut author = Author::new(random.fork(), &profile);
        let machine = |_| Machine {
            scripts: (0..random.usize(1..=profile.scripts_max)).map(|_| author.script()).collect(),
            client: None,
        };
        let machines = (0..profile.machines).map(machine).collect();
        if profile.has_upstream {
            for core in &mut cores {
                let (keys, values) = (author.keys.clone(), author.fills(FILLS));
                let is_narrow = profile.config.limits.waiting_commands_max < FILLS;
                let upstream = Invented::new(author.random.fork(), keys, values, is_narrow);
                core.shard.set_upstream(Box::new(upstream.clone()));
                core.upstream = Some(upstream);
            }
        }
        let wires = || (0..shards).map(|_| Wire::default()).collect();
        Self {
            facts: Facts {
                step: 0,
                clocks: vec![now_ms; shards],
                owners: author.keys.iter().map(|key| mesh::owner(key.as_bytes(), shards)).collect(),
                seen: vec![None; author.keys.len()],
                tags: HashMap::new(),
                keys: author.keys,
                values: author.values,
                lossy: profile.is_lossy,
                has_upstream: profile.has_upstream,
            },
            limits: profile.config.limits,
            cores,
            wires: (0..shards).map(|_| wires()).collect(),
            machines,
            clients: Vec::new(),
            now_ms,
            scheduler: Scheduler::new(&profile),
            calm: false,
            farewell: false,
            actions: Vec::new(),
            coverage: Coverage::default(),
            is_traced,
            random,
            profile,
        }
    }

    /// Lets everything happen and checks what came of it.
    pub(crate) fn run(&mut self) {
        while self.facts.step < self.profile.steps_max && self.step() {}
        self.settle();
        for (at, client) in
            self.clients.iter().enumerate().filter(|(_, client)| !client.is_closed())
        {
            assert_eq!(client.script.ending, Ending::Stay, "client {at} was left open");
            assert!(client.has_all_said(), "client {at} has answers left unsaid");
        }
        self.audit();
        self.part();
        self.check();
    }

    /// Takes one step. Returns false where there is nothing to do but wait.
    fn step(&mut self) -> bool {
        let mut actions = std::mem::take(&mut self.actions);
        self.find_actions(&mut actions);
        let has_work = actions.iter().any(|action| action.is_work());
        if has_work {
            let action = if self.calm {
                actions[self.random.usize(..actions.len())]
            } else {
                self.scheduler.choose(&actions, self.facts.step, &mut self.random)
            };
            self.facts.step += 1;
            assert!(self.facts.step < STEPS_MAX, "it never ends");
            if self.is_traced {
                eprintln!("{} at {} ms: {action:?}", self.facts.step, self.now_ms);
            }
            self.perform(action);
        }
        self.actions = actions;
        has_work
    }

    fn settle(&mut self) {
        self.calm = true;
        for client in &mut self.clients {
            client.stalled = false;
        }
        while self.step() {}
        self.calm = false;
    }

    fn find_actions(&self, actions: &mut Vec<Action>) {
        actions.clear();
        let is_accepting = self.cores.iter().any(|core| !core.draining);
        for (at, machine) in self.machines.iter().enumerate() {
            let is_free = machine.client.is_none_or(|client| {
                let client = &self.clients[client];
                client.is_closed() || client.has_sent_all()
            });
            if is_accepting && is_free && !machine.scripts.is_empty() {
                actions.push(Action::Open(at));
            }
        }
        for (at, client) in
            self.clients.iter().enumerate().filter(|(_, client)| !client.is_closed())
        {
            self.find_client_actions(at, client, actions);
        }
        for (at, core) in self.cores.iter().enumerate() {
            if !core.is_attended() {
                actions.push(Action::Attend(at));
            }
            if core.dirty {
                actions.push(Action::Flush(at));
            }
            for (to, wire) in self.wires[at].iter().enumerate() {
                if !wire.messages.is_empty() {
                    actions.push(Action::Deliver(at, to));
                }
            }
            if core.upstream.as_ref().is_some_and(Invented::is_asked) {
                actions.push(Action::Tell(at));
            }
            if !self.calm {
                actions.push(Action::Beat(at));
                if !core.draining && self.profile.drain_at.is_some_and(|at| at <= self.facts.step) {
                    actions.push(Action::Drain(at));
                }
            }
        }
        if !self.calm {
            actions.push(Action::Tick);
        }
    }

    fn find_client_actions(&self, at: usize, client: &Client, actions: &mut Vec<Action>) {
        let gone = client.own_side != OwnSide::Open;
        if !gone
            && client.written < client.script.bytes.len()
            && client.in_transit() < self.profile.window_bytes
        {
            actions.push(Action::Write(at));
        }
        let leaves = match client.script.ending {
            Ending::Fin => {
                client.server_side == ServerSide::Lingering
                    || client.written == client.script.bytes.len()
            }
            Ending::Stay => self.farewell,
            Ending::Reset(_) => false,
        };
        if !gone && leaves {
            actions.push(Action::Fin(at));
        }
        if client.may_reset() {
            actions.push(Action::Reset(at));
        }
        let is_broken = client.own_side == OwnSide::Reset;
        if is_broken || client.interest.read && client.is_readable() {
            actions.push(Action::Read(at));
        }
        if client.interest.write && !client.stalled && !is_broken {
            actions.push(Action::Send(at));
        }
        if !self.calm {
            actions.push(Action::Stall(at));
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Open(machine) => {
                let script = self.machines[machine].scripts.pop().expect("it has one");
                let open: Vec<_> =
                    (0..self.cores.len()).filter(|&core| !self.cores[core].draining).collect();
                let core = open[self.random.usize(..open.len())];
                self.machines[machine].client = Some(self.open(core, script));
            }
            Action::Write(client) => {
                let client = &mut self.clients[client];
                let room = self.profile.window_bytes - client.in_transit();
                let left = client.script.bytes.len() - client.written;
                let most = room.min(left).min(self.profile.write_bytes_max);
                client.write(self.random.usize(1..=most), &self.facts.seen);
            }
            Action::Fin(client) => self.clients[client].own_side = OwnSide::Fin,
            Action::Reset(client) => self.clients[client].own_side = OwnSide::Reset,
            Action::Stall(client) => self.clients[client].stalled ^= true,
            Action::Read(client) => self.read(client),
            Action::Send(client) => {
                self.turn(self.clients[client].core);
                self.attend(client);
            }
            Action::Attend(core) => self.attend_listed(core),
            Action::Flush(core) => self.flush(core),
            Action::Deliver(from, to) => self.deliver(from, to),
            Action::Tell(core) => self.tell(core),
            Action::Drain(core) => self.drain(core),
            Action::Beat(core) => self.beat(core),
            Action::Tick => self.now_ms += self.random.u64(1..=self.profile.tick_ms_max),
        }
    }

    /// Most of what happens to a shard begins a new turn of its loop; some of it shares one.
    fn turn(&mut self, core: usize) {
        if self.random.bool() {
            self.begin_turn(core);
        }
        self.cores[core].dirty = true;
        self.cores[core].busy = true;
    }

    fn begin_turn(&mut self, core: usize) {
        self.facts.clocks[core] = self.now_ms;
        let core = &mut self.cores[core];
        core.busy = core.shard.begin_turn(Millis(self.now_ms));
        if let Some(upstream) = &core.upstream {
            upstream.begin_turn(self.now_ms, &self.facts.moment(core));
        }
    }

    /// An upstream tells something, which its shard takes in when its next turn begins.
    fn tell(&mut self, number: usize) {
        let core = &mut self.cores[number];
        (core.dirty, core.busy) = (true, true);
        let upstream = core.upstream.as_ref().expect("it is asked");
        let told = upstream.tell(&self.facts.moment(core));
        self.coverage.reach(match told {
            Told::Value => "upstream had a value",
            Told::Nothing => "upstream had nothing",
            Told::Failure => "upstream failed",
        });
    }

    /// Attends to one connection that a shard has listed.
    fn attend_listed(&mut self, number: usize) {
        self.turn(number);
        let core = &mut self.cores[number];
        core.shard.take_listed(&mut core.listed);
        let id = core.listed.swap_remove(self.random.usize(..core.listed.len()));
        let client = core.sockets[id.slot()];
        if self.clients[client].id == id && !self.clients[client].is_closed() {
            self.attend(client);
        }
    }

    fn flush(&mut self, from: usize) {
        if self.random.bool() {
            self.begin_turn(from);
        }
        let core = &mut self.cores[from];
        core.dirty = core.busy;
        if self.profile.is_large && core.shard.report().store.orphaned_bytes > 0 {
            self.coverage.reach("value gone but for its readers");
        }
        let (random, coverage) = (&mut self.random, &mut self.coverage);
        let is_lossy = self.facts.lossy && !self.calm;
        core.shard.flush(|to, message| {
            assert_ne!(from, to, "a message to itself");
            let wire = &mut self.wires[from][to];
            if matches!(message, Message::Calls(_)) {
                if is_lossy && random.u8(..4) == 0 {
                    return Err(message);
                }
                wire.calls_in_flight += 1;
                assert!(wire.calls_in_flight <= mesh::MESSAGES_MAX);
                if wire.calls_in_flight == mesh::MESSAGES_MAX {
                    coverage.reach("many messages in flight");
                }
            }
            if matches!(message, Message::Late(_)) {
                coverage.reach("late replies over a hop");
            }
            wire.messages.push_back(message);
            assert!(wire.messages.len() <= CHANNEL_MESSAGES_MAX, "a channel is full");
            Ok(())
        });
    }

    fn deliver(&mut self, from: usize, to: usize) {
        self.turn(to);
        let message = self.wires[from][to].messages.pop_front().expect("there is one");
        if matches!(message, Message::Replies(_)) {
            self.wires[to][from].calls_in_flight -= 1;
        }
        self.cores[to].shard.deliver(from, message);
    }

    fn drain(&mut self, number: usize) {
        self.turn(number);
        self.cores[number].draining = true;
        self.cores[number].shard.drain();
        // What had arrived counts, whether or not anybody waits for it.
        for at in 0..self.clients.len() {
            if self.clients[at].core == number && !self.clients[at].is_closed() {
                self.read(at);
            }
        }
    }

    /// While it drains, a core reads on where the last read may have left bytes.
    fn read_on(&mut self, number: usize) {
        for at in 0..self.clients.len() {
            let client = &self.clients[at];
            if client.core == number
                && !client.is_closed()
                && client.interest.read
                && self.cores[number].shard.has_unread(client.id)
            {
                self.read(at);
            }
        }
    }

    fn beat(&mut self, number: usize) {
        self.begin_turn(number);
        let core = &mut self.cores[number];
        core.beat_ms += (self.now_ms - core.last_beat_ms).min(BEAT_MAX_MS);
        core.last_beat_ms = self.now_ms;
        core.dirty = true;
        for client in self.clients.iter_mut().filter(|client| client.core == number) {
            client.beat(core.beat_ms, &self.limits);
        }
        core.shard.beat(Millis(self.now_ms), date(self.now_ms));
        if core.draining {
            self.read_on(number);
        }
        // Who is late is told so before another byte is read.
        while !self.cores[number].is_attended() {
            self.attend_listed(number);
        }
    }

    /// Reads every key through every shard. Now that nothing is under way, nothing is refused.
    fn audit(&mut self) {
        for upstream in self.cores.iter().filter_map(|core| core.upstream.as_ref()) {
            upstream.fall_silent();
            if upstream.has_refused() {
                self.coverage.reach("upstream refused");
            }
        }
        let (random, keys) = (self.random.fork(), self.facts.keys.clone());
        let mut author = Author::of(random, keys);
        for core in
            (0..self.cores.len()).filter(|&core| !self.cores[core].draining).collect::<Vec<_>>()
        {
            for key in 0..self.facts.keys.len() {
                let number = self.open(core, author.audit(key));
                self.settle();
                let client = &self.clients[number];
                assert!(client.is_closed() && client.was_served(), "key {key} is refused");
            }
        }
    }

    /// Ends the connections that are still open: their clients leave, the server drains, or both
    /// wait.
    fn part(&mut self) {
        match self.random.u8(..3) {
            0 => self.farewell = true,
            1 => {
                for core in 0..self.cores.len() {
                    if !self.cores[core].draining {
                        self.drain(core);
                    }
                }
                self.settle();
                self.farewell = self.random.bool();
            }
            _ => self.farewell = self.limits.idle_timeout > Duration::from_secs(10),
        }
        self.settle();
        // Long enough for a request and then a lingering close to run out of time.
        for _ in 0..20 {
            if self.clients.iter().all(Client::is_closed) {
                break;
            }
            assert!(!self.farewell, "a connection outlived both its ends");
            self.now_ms += BEAT_MAX_MS;
            for core in 0..self.cores.len() {
                self.beat(core);
            }
            self.settle();
        }
    }
}

fn date(now_ms: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(now_ms)
}
