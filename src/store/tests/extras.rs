//! What an entry may carry beside its value, and what follows from it: stale entries,
//! leases, tags, and removal by prefix.

use super::{
    BOUNDS, NOW, READ, add, items, op, put, put_for, read_for, touch, unless, version, write,
};
use crate::clock::Millis;
use crate::store::{
    Bounds, CONTENT_TYPE_BYTES_MAX, Condition, Details, Extras, KeyHasher, Lease, Read, Reply,
    SCAN_STEPS_MAX, Scan, Store, TAGS_MAX, Verb, Write,
};
use std::num::NonZeroU64;

type Life = (u64, u64);

const FOR_EVER: Life = (0, 0);

fn extras<'a>(content_type: &'a [u8], tags: &'a [u8]) -> Extras<&'a [u8]> {
    let some = |bytes: &'a [u8]| (!bytes.is_empty()).then_some(bytes);
    Extras { content_type: some(content_type), tags: some(tags), stale_ms: None }
}

fn write_with<'a>(value: &'a [u8], extras: Extras<&'a [u8]>, life: Life) -> Verb<&'a [u8]> {
    let (ttl_ms, stale_ms) = (NonZeroU64::new(life.0), NonZeroU64::new(life.1));
    let extras = Extras { stale_ms, ..extras };
    Verb::Write(Write { value, extras, ttl_ms, condition: Condition::NONE })
}

fn taken(left_ms: u64) -> Lease {
    Lease::Taken { left_ms: NonZeroU64::new(left_ms).unwrap() }
}

fn after(ms: u64) -> Millis {
    Millis(NOW.0 + ms)
}

fn delete_prefix(store: &mut Store, prefix: &[u8], dry_run: bool, steps: u32) -> u64 {
    let mut scan = Scan::START;
    while !store.delete_prefix(&mut scan, prefix, dry_run, NOW, steps) {}
    scan.matched
}

#[test]
fn extras_come_back_with_any_value_and_a_plain_put_drops_them() {
    let bounds = Bounds { value_bytes_max: 1 << 17, ..BOUNDS };
    let (content_type, tags) = ([b't'; CONTENT_TYPE_BYTES_MAX], [7; 8 * TAGS_MAX]);
    for (value, life) in [(vec![], FOR_EVER), (vec![1; 100], (50, 9)), (vec![2; 1 << 17], (50, 0))]
    {
        for extras in [
            extras(&content_type, &tags),
            extras(b"text/plain", b""),
            extras(b"", &tags[..16]),
            Extras::NONE,
        ] {
            let mut store = Store::new(&bounds);
            store.execute(&op(b"k", write_with(&value, extras, life)), NOW);
            // An overwrite in its place, an addition to something else, a new size.
            for verb in [write_with(&value, extras, life), add(1), touch(70), touch(0), touch(70)] {
                store.execute(&op(b"k", verb), NOW);
                let reply = store.execute(&op(b"k", READ), NOW);
                let Reply::Entry { value: held, details: Details { content_type, stale, .. } } =
                    reply
                else {
                    panic!("{verb:?}: {reply:?}")
                };
                assert_eq!((held, content_type, stale), (&value[..], extras.content_type, None));
            }
            assert_eq!(items(&mut store, NOW)[0].1.as_deref(), extras.tags);
            store.execute(&op(b"k", put(&value)), NOW);
            assert!(matches!(
                store.execute(&op(b"k", READ), NOW),
                Reply::Entry { details: Details { content_type: None, .. }, .. }
            ));
            store.check();
        }
    }
}

#[test]
fn an_addition_keeps_the_extras_and_changes_the_version() {
    let mut store = Store::new(&BOUNDS);
    store.execute(&op(b"n", write_with(b"99", extras(b"text/plain", &[5; 16]), (50, 20))), NOW);
    let before = version(&mut store, b"n");
    assert_eq!(store.execute(&op(b"n", add(1)), NOW), Reply::Number(100));
    let reply = store.execute(&op(b"n", READ), after(10));
    let Reply::Entry { value, details: Details { content_type, version, ttl_ms, .. } } = reply
    else {
        panic!()
    };
    assert_eq!((value, content_type), (&b"100"[..], Some(&b"text/plain"[..])));
    assert_eq!((ttl_ms, version != before), (NonZeroU64::new(40), true));
    assert_eq!(items(&mut store, NOW), [(b"n".to_vec(), Some(vec![5; 16]), Some(after(70)))]);
}

#[test]
fn extras_beyond_their_bounds_are_refused() {
    let mut store = Store::new(&BOUNDS);
    for extras in [extras(&[b't'; CONTENT_TYPE_BYTES_MAX + 1], b""), extras(b"", &[0; 72])] {
        let reply = store.execute(&op(b"k", write_with(b"v", extras, FOR_EVER)), NOW);
        assert_eq!(reply, Reply::TooLarge);
    }
    assert_eq!((store.stats().rejected, store.stats().entries), (2, 0));
}

#[test]
fn what_is_not_there_takes_no_memory() {
    let bytes = |verb: Verb<&[u8]>| {
        let mut store = Store::new(&BOUNDS);
        store.execute(&op(&[1; 16], verb), NOW);
        store.stats().payload_bytes
    };
    assert_eq!(bytes(put(&[2; 128])), 16 + 16 + 128);
    for none in [Extras::NONE, Extras { tags: Some(&b""[..]), ..Extras::NONE }] {
        assert_eq!(bytes(write_with(&[2; 128], none, FOR_EVER)), 16 + 16 + 128);
        // Without a time to live there is nothing to outlast.
        assert_eq!(bytes(write_with(b"", none, (0, 9))), 16 + 16);
        assert_eq!(bytes(write_with(b"", none, (9, 0))), 28 + 16);
        assert_eq!(bytes(write_with(b"", none, (9, 9))), 28 + 16 + 10 + 8);
    }
    assert_eq!(bytes(write_with(b"", extras(b"a/b", &[0; 16]), (9, 9))), 28 + 16 + 10 + 8 + 19);
}

#[test]
fn a_stale_entry_is_read_until_its_end() {
    let mut store = Store::new(&BOUNDS);
    store.execute(&op(b"k", write_with(b"v", extras(b"a/b", b""), (50, 30))), NOW);
    assert_eq!(store.execute(&op(b"k", Verb::get()), after(49)), Reply::Value(&b"v"[..]));
    let version = version(&mut store, b"k");
    for (verb, lease) in [
        (Verb::get(), Lease::NotAsked),
        (Verb::peek(), Lease::NotAsked),
        (READ, Lease::NotAsked),
        (read_for(5), Lease::Granted),
        (read_for(5), taken(5)),
        (Verb::get(), Lease::NotAsked),
    ] {
        let entry = Reply::Entry {
            value: &b"v"[..],
            details: Details {
                content_type: Some(&b"a/b"[..]),
                version,
                ttl_ms: None,
                stale: Some(lease),
            },
        };
        assert_eq!(store.execute(&op(b"k", verb), after(50)), entry);
    }
    let known = version.to_le_bytes();
    let lease_ms = NonZeroU64::new(9);
    let read = Verb::Read(Read { condition: unless(&known), lease_ms, ..Read::ENTRY });
    let unchanged = Reply::Unchanged { version, ttl_ms: None, stale: Some(Lease::Granted) };
    assert_eq!(store.execute(&op(b"k", read), after(79)), unchanged);
    assert_eq!(store.stats().stale, 7);
    assert_eq!(store.execute(&op(b"k", Verb::get()), after(80)), Reply::Absent);
    assert_eq!((store.stats().expirations, store.stats().expired), (1, 1));
}

#[test]
fn what_is_stale_is_there_but_for_an_addition() {
    let stale = |store: &mut Store, verb| {
        store.execute(&op(b"k", write_with(b"7", extras(b"a/b", b""), (50, 30))), NOW);
        store.execute(&op(b"k", verb), after(60)).map(<[u8]>::to_vec)
    };
    let mut store = Store::new(&BOUNDS);
    assert_eq!(stale(&mut store, put(b"w")), Reply::Replaced);
    assert_eq!(store.execute(&op(b"k", Verb::get()), after(90)), Reply::Value(&b"w"[..]));
    assert_eq!(stale(&mut store, write(b"w", Condition::ABSENT)), Reply::Refused);
    assert_eq!(stale(&mut store, write(b"w", Condition::PRESENT)), Reply::Replaced);
    assert_eq!(stale(&mut store, Verb::delete()), Reply::Deleted);
    assert_eq!(stale(&mut store, add(1)), Reply::Number(1));
    assert!(matches!(
        store.execute(&op(b"k", READ), after(90)),
        Reply::Entry {
            value: b"1",
            details: Details { content_type: None, ttl_ms: None, stale: None, .. }
        }
    ));
    // A touch makes it live, and it may go stale again for as long as before.
    assert_eq!(stale(&mut store, touch(100)), Reply::Touched);
    assert_eq!(store.execute(&op(b"k", Verb::get()), after(159)), Reply::Value(&b"7"[..]));
    let reply = store.execute(&op(b"k", Verb::get()), after(189));
    assert!(
        matches!(reply, Reply::Entry { details: Details { stale: Some(_), .. }, .. }),
        "{reply:?}"
    );
    assert_eq!(store.execute(&op(b"k", Verb::get()), after(190)), Reply::Absent);
    assert_eq!(stale(&mut store, touch(0)), Reply::Touched);
    assert_eq!(store.execute(&op(b"k", Verb::get()), after(1 << 30)), Reply::Value(&b"7"[..]));
}

#[test]
fn no_time_is_too_long_to_go_stale_in() {
    const LAST: u64 = (1 << 39) - 1;
    let mut store = Store::new(&BOUNDS);
    let mut write = |ttl, stale_ms, at| {
        store.execute(&op(b"k", write_with(b"v", Extras::NONE, (ttl, stale_ms))), NOW);
        store.check();
        store.execute(&op(b"k", touch(ttl)), NOW);
        store.check();
        store.execute(&op(b"k", Verb::get()), Millis(at)).map(<[u8]>::to_vec)
    };
    assert!(matches!(
        write(50, u64::MAX, LAST - 2),
        Reply::Entry { details: Details { stale: Some(_), .. }, .. }
    ));
    assert_eq!(write(50, u64::MAX, LAST - 1), Reply::Absent);
    assert!(matches!(write(u64::MAX, 50, u64::MAX), Reply::Value(_)));
    assert!(matches!(write(LAST - NOW.0 - 1, 50, LAST - 2), Reply::Value(_)));
    assert_eq!(write(LAST - NOW.0 - 1, 50, LAST - 1), Reply::Absent);
    // Without a time to live there is nothing to outlast.
    assert!(matches!(write(0, 50, LAST), Reply::Value(_)));
}

#[test]
fn one_reader_of_a_missing_key_has_the_lease() {
    let mut store = Store::new(&BOUNDS);
    let mut ask = |key: &[u8], verb, at| store.execute(&op(key, verb), at).map(<[u8]>::to_vec);
    assert_eq!(ask(b"k", read_for(100), NOW), Reply::Missing(Lease::Granted));
    assert_eq!(ask(b"k", read_for(500), after(1)), Reply::Missing(taken(99)));
    assert_eq!(ask(b"l", read_for(500), after(1)), Reply::Missing(Lease::Granted));
    assert_eq!(ask(b"k", READ, after(1)), Reply::Absent);
    // It ends by itself, with a write, and with everything.
    assert_eq!(ask(b"k", read_for(50), after(100)), Reply::Missing(Lease::Granted));
    for verb in [put(b"7"), write(b"7", Condition::NONE), add(7)] {
        assert_eq!(
            ask(b"k", verb, after(101)),
            match verb {
                Verb::Add { .. } => Reply::Number(7),
                _ => Reply::Created,
            }
        );
        assert_eq!(ask(b"k", Verb::delete(), after(101)), Reply::Deleted);
        assert_eq!(ask(b"k", read_for(50), after(101)), Reply::Missing(Lease::Granted));
    }
    assert_eq!(ask(b"k", write(b"7", Condition::PRESENT), after(102)), Reply::Refused);
    assert_eq!(ask(b"k", Verb::delete(), after(102)), Reply::Absent);
    assert_eq!(ask(b"k", read_for(50), after(102)), Reply::Missing(taken(49)));
    store.flush();
    let again = store.execute(&op(b"k", read_for(50)), after(102));
    assert_eq!(again, Reply::Missing(Lease::Granted));
    store.check();
}

#[test]
fn a_touch_ends_the_lease_on_what_was_stale() {
    let mut store = Store::new(&BOUNDS);
    store.execute(&op(b"k", write_with(b"v", Extras::NONE, (10, 90))), NOW);
    for (touched, stale) in [(9, 10), (11, 30)] {
        store.execute(&op(b"k", touch(1)), after(touched));
        let reply = store.execute(&op(b"k", read_for(80)), after(stale));
        assert!(
            matches!(
                reply,
                Reply::Entry { details: Details { stale: Some(Lease::Granted), .. }, .. }
            ),
            "{reply:?}"
        );
    }
}

#[test]
fn of_too_many_leases_the_first_to_end_give_way() {
    let mut store = Store::new(&BOUNDS);
    let keys = 1_000_u64;
    let ask = |store: &mut Store, id: u64| {
        store.execute(&op(&id.to_le_bytes(), read_for(1 + id)), NOW).map(<[u8]>::to_vec)
    };
    for id in 0..keys {
        assert_eq!(ask(&mut store, id), Reply::Missing(Lease::Granted));
    }
    store.check();
    let held: Vec<u64> = (0..keys)
        .rev()
        .take(64)
        .filter(|&id| ask(&mut store, id) != Reply::Missing(Lease::Granted))
        .collect();
    assert!(held.len() > 32, "{} of the last 64", held.len());
    assert_eq!(ask(&mut store, 0), Reply::Missing(Lease::Granted));
    assert!(store.stats().used_bytes <= store.stats().budget_bytes);
}

#[test]
fn an_invalidated_tag_ends_what_was_written_before() {
    let mut store = Store::new(&BOUNDS);
    let tags = [[1_u8; 8], [2; 8]].concat();
    let tagged = |from| extras(b"", &tags[from..]);
    store.execute(&op(b"both", write_with(b"1", tagged(0), FOR_EVER)), NOW);
    store.execute(&op(b"two", write_with(b"1", tagged(8), FOR_EVER)), NOW);
    store.execute(&op(b"stale", write_with(b"1", tagged(0), (5, 50))), NOW);
    store.execute(&op(b"sum", write_with(b"1", tagged(0), FOR_EVER)), NOW);
    store.execute(&op(b"plain", put(b"1")), NOW);
    store.execute(&op(b"none", write_with(b"1", Extras::NONE, FOR_EVER)), NOW);
    assert!(store.invalidate(u64::from_le_bytes([1; 8])));
    store.execute(&op(b"later", write_with(b"1", tagged(0), FOR_EVER)), NOW);
    let keys: [(&[u8], bool); 7] = [
        (b"both", false),
        (b"two", true),
        (b"stale", false),
        (b"sum", false),
        (b"plain", true),
        (b"none", true),
        (b"later", true),
    ];
    let left = items(&mut store, after(9));
    for (key, is_left) in keys {
        assert_eq!(left.iter().any(|(met, ..)| met == key), is_left);
    }
    // Each verb finds nothing, and what was there is counted once.
    assert_eq!(store.execute(&op(b"both", Verb::get()), NOW), Reply::Absent);
    assert_eq!(store.execute(&op(b"stale", read_for(9)), after(9)), Reply::Missing(Lease::Granted));
    assert_eq!(store.execute(&op(b"sum", add(5)), NOW), Reply::Number(5));
    assert_eq!(store.stats().invalidated, 3);
    for (key, is_left) in keys {
        let held = store.execute(&op(key, Verb::peek()), NOW) != Reply::Absent;
        assert_eq!(held, is_left || key == b"sum");
    }
    // The same again, and another.
    for (tag, is_left) in [([1; 8], false), ([2; 8], false)] {
        store.execute(&op(b"both", write_with(b"1", tagged(0), FOR_EVER)), NOW);
        assert!(store.invalidate(u64::from_le_bytes(tag)));
        assert_eq!(store.execute(&op(b"both", touch(9)), NOW) == Reply::Touched, is_left);
    }
    store.check();
}

#[test]
fn a_sweep_gives_memory_back_and_frees_the_rows() {
    let mut store = Store::new(&BOUNDS);
    let entries = if cfg!(miri) { 60 } else { 3_000_u64 };
    let tags: Vec<[u8; 8]> = (0..entries).map(|id| (id % 10).to_le_bytes()).collect();
    let fill = |store: &mut Store| {
        for (id, tag) in (0..entries).zip(&tags) {
            let verb = write_with(b"value", extras(b"", tag), FOR_EVER);
            store.execute(&op(&id.to_le_bytes(), verb), NOW);
        }
    };
    assert!(!store.sweep(1));
    // More rounds than there is room for rows.
    for round in 0..if cfg!(miri) { 3 } else { 30 } {
        fill(&mut store);
        let before = store.stats().invalidated;
        assert!((0..5).all(|tag| store.invalidate(tag)));
        let mut steps = 0;
        while store.sweep(10) {
            steps += 1;
            // One that is written meanwhile stays.
            let verb = write_with(b"value", extras(b"", &tags[1]), FOR_EVER);
            store.execute(&op(b"meanwhile", verb), NOW);
        }
        assert!(steps > entries / 10, "{steps} slices");
        assert_eq!(store.stats().invalidated - before, entries / 2 + u64::from(round > 0));
        assert_eq!(store.stats().entries, entries / 2 + 1);
        store.check();
    }
}

#[test]
fn too_many_tags_are_refused_until_a_sweep() {
    let mut store = Store::new(&BOUNDS);
    store.execute(&op(b"k", write_with(b"v", extras(b"", &[9; 8]), FOR_EVER)), NOW);
    let taken = (0..1_000).take_while(|&tag| store.invalidate(tag)).count() as u64;
    assert!((16..1_000).contains(&taken), "{taken} tags");
    assert!(!store.invalidate(1_000) && store.invalidate(0));
    assert_eq!(store.execute(&op(b"k", Verb::get()), NOW), Reply::Value(&b"v"[..]));
    // A sweep takes the rows over and the next tag finds room, but each half has its end.
    store.sweep(1);
    assert_eq!((0..1_000).filter(|&tag| store.invalidate(2_000 + tag)).count() as u64, taken);
    while store.sweep(SCAN_STEPS_MAX) {}
    assert!(store.invalidate(1_000));
    store.flush();
    assert!(!store.sweep(1));
}

#[test]
fn a_prefix_is_deleted_and_nothing_else() {
    let mut store = Store::new(&BOUNDS);
    let ids = if cfg!(miri) { 60 } else { 3_000_u32 };
    let keys: Vec<String> = (0..ids).map(|id| format!("{}:{id}", id % 3)).collect();
    for key in &keys {
        store.execute(&op(key.as_bytes(), put(b"value")), NOW);
    }
    store.execute(&op(b"1:over", put_for(b"value", 1)), Millis(NOW.0 - 1));
    store.execute(&op(b"1:stale", write_with(b"v", Extras::NONE, (1, 9))), Millis(NOW.0 - 1));
    let third = u64::from(ids / 3) + 1;
    for steps in [1, 7, SCAN_STEPS_MAX] {
        assert_eq!(delete_prefix(&mut store, b"1:", true, steps), third);
        assert_eq!(delete_prefix(&mut store, b"1:no", true, steps), 0);
    }
    assert_eq!(delete_prefix(&mut store, b"1:", false, 1), third);
    assert_eq!(store.stats().prefix_deleted, third);
    for (id, key) in keys.iter().enumerate() {
        let held = store.execute(&op(key.as_bytes(), Verb::peek()), NOW) != Reply::Absent;
        assert_eq!(held, id % 3 != 1, "{key}");
    }
    // What is over is left to the wheel.
    let left = store.stats().entries - 1;
    assert_eq!(delete_prefix(&mut store, b"", false, SCAN_STEPS_MAX), left);
    assert_eq!(store.stats().entries, 1);
    store.check();
}

/// What a scan has not met yet lies in buckets whose numbers end alike. Were all of them joined as
/// entries leave, the last thousand entries of a million would hang on one chain.
#[test]
#[cfg_attr(miri, ignore = "no chain grows long enough among few entries")]
fn a_scan_that_removes_all_leaves_no_long_chains() {
    let mut store = Store::new(&Bounds { memory_bytes_max: 4 << 20, ..BOUNDS });
    for id in 0..30_000_u32 {
        store.execute(&op(&id.to_le_bytes(), put(b"")), NOW);
    }
    let (before, pages) = (store.index.longest_chain(&store.arena), store.index.pages());
    let mut scan = Scan::START;
    while !store.delete_prefix(&mut scan, b"", false, NOW, 64) {
        let longest = store.index.longest_chain(&store.arena);
        assert!(longest <= before.max(4), "{longest} buckets with {} entries", scan.matched);
    }
    assert_eq!(scan.matched, 30_000);
    // The table follows the number of entries again as others come and go.
    for id in 0..20_000_u32 {
        store.execute(&op(&id.to_le_bytes(), put(b"")), NOW);
        store.execute(&op(&id.to_le_bytes(), Verb::delete()), NOW);
    }
    assert!(store.index.pages() * 10 < pages, "{} of {pages} pages", store.index.pages());
    store.check();
}

/// Buckets split and join behind the cursor and before it: what stays is met exactly once.
#[test]
fn a_scan_meets_what_stays_once_while_the_index_grows_and_shrinks() {
    let (rounds, stay) = if cfg!(miri) { (1, 12) } else { (40, 500_u32) };
    for seed in 0..rounds {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut store = Store::new(&Bounds { memory_bytes_max: 4 << 20, ..BOUNDS });
        for id in 0..stay {
            store.execute(&op(format!("stay {id}").as_bytes(), put(b"")), NOW);
        }
        // The others come and go between two slices, in long waves.
        let (mut others, mut is_growing) = (0, random.bool());
        let wave = stay * random.u32(1..20);
        if !is_growing {
            for id in 0..wave {
                store.execute(&op(&id.to_le_bytes(), put(b"")), NOW);
            }
            others = wave;
        }
        let mut scan = Scan::START;
        while !store.delete_prefix(&mut scan, b"stay ", true, NOW, 8) {
            for _ in 0..random.u32(..300) {
                is_growing = if is_growing { others < wave } else { others == 0 };
                if is_growing {
                    store.execute(&op(&others.to_le_bytes(), put(b"")), NOW);
                    others += 1;
                } else {
                    others -= 1;
                    store.execute(&op(&others.to_le_bytes(), Verb::delete()), NOW);
                }
            }
        }
        assert_eq!((scan.matched, store.stats().evictions), (u64::from(stay), 0), "seed {seed}");
    }
}

#[test]
fn a_tag_is_not_a_key() {
    let hasher = KeyHasher::with_seed(1);
    assert_eq!(hasher.tag(b"k"), hasher.clone().tag(b"k"));
    assert_ne!(hasher.tag(b"k"), hasher.hash(b"k"));
    assert_ne!(hasher.tag(b"k"), KeyHasher::with_seed(2).tag(b"k"));
}
