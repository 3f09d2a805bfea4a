//! What a run of all tests together must have come to.
#![expect(clippy::disallowed_methods, reason = "other tests are waited for")]

use crate::common::recording;
use std::{fs, process::Command, thread, time::Duration};

/// Waits until every other test has ended. It can, because tests start in the order of their names
/// and this one is the last.
fn await_the_others() {
    let list = Command::new("/proc/self/exe").arg("--list").output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    let last = list.lines().filter_map(|line| line.strip_suffix(": test")).next_back();
    assert_eq!(last, thread::current().name(), "this test has to be the last by its name");
    // What is left then: the thread that starts the tests, and this one.
    while fs::read_dir("/proc/self/task").unwrap().count() > 2 {
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn every_recorded_exchange_is_made() {
    let is_part = |argument: &String| {
        let known = ["--nocapture", "--show-output", "--quiet", "-q", "--test-threads"];
        let is_number = argument.parse::<usize>().is_ok();
        !is_number && known.iter().all(|known| !argument.starts_with(known))
    };
    if std::env::args().skip(1).any(|argument| is_part(&argument)) {
        assert!(std::env::var_os("KVCACHE_RECORD").is_none(), "only whole runs are recorded");
        // Tests may have been left out.
        return;
    }
    await_the_others();
    recording::finish();
}
