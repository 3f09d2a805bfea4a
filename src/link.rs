//! The channels between shards: a bounded ring for each ordered pair, and a waker for each shard.
//!
//! Whoever has put something into a ring wakes the receiver. That is a system call only while
//! the receiver sleeps: the receiver says so first and looks into its rings once more afterwards,
//! the sender fills the ring first and looks whether the receiver sleeps afterwards, each with a
//! full fence between the two. So one of them sees the other.

use rtrb::{Consumer, Producer, PushError, RingBuffer};
use rustix::event::{EventfdFlags, eventfd};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering, fence},
    },
};

/// Wakes one shard.
#[derive(Debug)]
pub struct Waker {
    asleep: AtomicBool,
    event: OwnedFd,
}

impl Waker {
    fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self { asleep: AtomicBool::new(false), event })
    }

    /// Wakes the owner if it sleeps. What it is woken for must be in its ring already.
    fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed) {
            self.signal();
        }
    }

    /// Makes the waker's descriptor report an edge.
    pub fn signal(&self) {
        // It fails only when 2^64 signals have added up, and then it reports one.
        let _signaled = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
    }

    /// The owner is awake.
    pub fn set_awake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

/// One shard's ends of all its channels.
pub struct Links<T> {
    waker: Arc<Waker>,
    /// By shard number; none to itself.
    channels: Vec<Option<Channel<T>>>,
}

struct Channel<T> {
    outgoing: Producer<T>,
    incoming: Consumer<T>,
    waker: Arc<Waker>,
}

impl<T> Links<T> {
    /// The ends of `shards` shards, each channel with room for `items`.
    pub fn between(shards: usize, items: usize) -> io::Result<Vec<Self>> {
        let mut wakers = Vec::new();
        for _ in 0..shards {
            wakers.push(Arc::new(Waker::new()?));
        }
        let none = || (0..shards).map(|_| None).collect::<Vec<_>>();
        let mut all: Vec<Self> =
            wakers.iter().map(|waker| Self { waker: waker.clone(), channels: none() }).collect();
        for one in 0..shards {
            for other in one + 1..shards {
                let (there, arriving_there) = RingBuffer::new(items);
                let (back, arriving_back) = RingBuffer::new(items);
                let (to_one, to_other) = (wakers[one].clone(), wakers[other].clone());
                all[one].channels[other] =
                    Some(Channel { outgoing: there, incoming: arriving_back, waker: to_other });
                all[other].channels[one] =
                    Some(Channel { outgoing: back, incoming: arriving_there, waker: to_one });
            }
        }
        Ok(all)
    }

    fn channel(&mut self, shard: usize) -> &mut Channel<T> {
        self.channels[shard].as_mut().expect("a shard has links to all others, not to itself")
    }

    /// Sends to another shard and wakes it. Hands the item back when the ring is full or the shard
    /// is gone.
    pub fn send(&mut self, shard: usize, item: T) -> Result<(), T> {
        let channel = self.channel(shard);
        if channel.outgoing.is_abandoned() {
            return Err(item);
        }
        channel.outgoing.push(item).map_err(|PushError::Full(item)| item)?;
        channel.waker.wake();
        Ok(())
    }

    /// How many items can be sent to another shard at least.
    pub fn room(&mut self, shard: usize) -> usize {
        self.channel(shard).outgoing.slots()
    }

    /// What another shard has sent, in order.
    pub fn receive(&mut self, shard: usize) -> Option<T> {
        self.channels[shard].as_mut()?.incoming.pop().ok()
    }

    /// Shards, this one included.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.channels.len()
    }

    /// This shard's own waker.
    #[must_use]
    pub fn waker(&self) -> &Arc<Waker> {
        &self.waker
    }

    /// Declares this shard asleep unless something has arrived. Returns whether it may sleep.
    #[must_use]
    pub fn doze(&self) -> bool {
        self.waker.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let nothing = self.channels.iter().flatten().all(|channel| channel.incoming.is_empty());
        if !nothing {
            self.waker.set_awake();
        }
        nothing
    }
}

#[cfg(test)]
mod tests {
    use super::Links;
    use rustix::event::{PollFd, PollFlags, poll};
    use std::thread;

    /// Answers or asks until `count` items have come, sleeping on the waker in between.
    fn play(mut links: Links<u64>, peer: usize, count: u64, first: bool) {
        if first {
            links.send(peer, 0).unwrap();
        }
        let mut expected = 0;
        while expected < count {
            while let Some(item) = links.receive(peer) {
                assert_eq!(item, expected);
                expected += 1;
                if !first || expected < count {
                    links.send(peer, if first { expected } else { item }).unwrap();
                }
            }
            if expected < count && links.doze() {
                let mut waker = [PollFd::new(links.waker(), PollFlags::IN)];
                poll(&mut waker, None).unwrap();
                let mut counter = [0; 8];
                rustix::io::read(links.waker(), &mut counter).unwrap();
                links.waker().set_awake();
            }
        }
    }

    /// A lost wake-up hangs here.
    #[test]
    fn a_sleeper_is_always_woken() {
        let mut ends = Links::between(2, 1).unwrap();
        let (other, one) = (ends.pop().unwrap(), ends.pop().unwrap());
        let player = thread::spawn(move || play(one, 1, 20_000, true));
        play(other, 0, 20_000, false);
        player.join().unwrap();
    }

    #[test]
    fn a_full_ring_and_a_lost_peer_hand_back() {
        let mut ends = Links::between(3, 2).unwrap();
        let (_third, second, mut first) =
            (ends.pop().unwrap(), ends.pop().unwrap(), ends.pop().unwrap());
        assert_eq!(first.room(1), 2);
        assert_eq!(
            (first.send(1, 1), first.send(1, 2), first.send(1, 3)),
            (Ok(()), Ok(()), Err(3))
        );
        assert_eq!(first.send(2, 4), Ok(()), "each pair has a ring of its own");
        drop(second);
        assert_eq!(first.send(1, 5), Err(5));
    }
}
