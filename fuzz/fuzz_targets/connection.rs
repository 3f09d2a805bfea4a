//! A whole connection, with the routes and two stores behind it: the same answers however its
//! bytes are cut and wherever the keys live, and never more answers than requests.

#![no_main]

mod common;

use kvcache::config::Limits;
use kvcache::http::request::{Expect, Method, RepeatedFields};
use kvcache::http::{Next, Port, Reader};
use kvcache::wire::Input;
use libfuzzer_sys::fuzz_target;

/// Requests that the bytes hold, one that is wrong included, and whether any is to HEAD or may
/// hold its body back, on which answers are not read or depend on the cut.
fn count(input: &[u8]) -> (usize, bool) {
    let (mut reader, mut count, mut special) = (Reader::new(Port::Data), 0, false);
    let mut input = Input::new(Vec::new(), input, false);
    let mut fields = RepeatedFields::default();
    loop {
        match reader.next(&mut input, &mut fields, &Limits::DEFAULT) {
            Ok(Next::Request(request)) => {
                count += 1;
                special |= request.head.method == Method::Head;
                special |= request.head.expect != Expect::None;
            }
            // Seen here too: a body that is wrong never becomes a request.
            Ok(Next::Head(it)) => special |= it.head.expect != Expect::None,
            Ok(Next::Partial) => return (count, special),
            Err(_) => return (count + 1, special),
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((input, cut)) = common::cut(input) else { return };
    let (requests, special) = count(input);
    let (first, second) = input.split_at(cut);
    let tell =
        |shards, home, pieces: &[&[u8]]| common::tell(&mut common::cluster(shards), home, pieces);
    let (shards, home) = [(1, 0), (2, 0), (2, 1)][cut % 3];
    let whole = tell(shards, home, &[input]);
    let pieces = tell(shards, home, &[first, second]);
    if !special {
        assert_eq!(pieces, whole, "cut at {cut}, shard {home} of {shards}");
        assert!(common::statuses(&whole.0).len() <= requests, "more answers than requests");
    }
});
