//! Whether all that happened was right: nothing is left over, and each key's history has an order.

use super::World;
use crate::{
    client::Client,
    coverage::Coverage,
    history::{Call, Content, If, Operation, Right, Said, What, is_linearizable},
};

impl World {
    pub(super) fn check(&mut self) {
        assert!(self.clients.iter().all(Client::is_closed), "a connection leaked");
        for core in &self.cores {
            assert!(core.shard.is_quiet(), "shard {} is not quiet", core.shard.me());
            let report = core.shard.report();
            let connections = report.counters.connections;
            assert_eq!((connections.open, connections.buffered_bytes), (0, 0));
            assert_eq!(report.store.evictions, 0, "the histories allow for none");
            assert_eq!((report.store.lent, report.store.revoked), (0, 0), "a pin leaked");
            assert_eq!(report.store.orphaned_bytes, 0);
            if report.store.expired > 0 {
                self.coverage.reach("entry expired");
            }
            if report.store.invalidated > 0 {
                self.coverage.reach("tag ended an entry");
            }
        }
        for wire in self.wires.iter().flatten() {
            assert!(wire.messages.is_empty() && wire.calls_in_flight == 0);
        }
        let mut histories: Vec<Vec<Operation>> = vec![Vec::new(); self.facts.keys.len()];
        for (number, client) in self.clients.iter().enumerate() {
            let now = self.facts.moment(&self.cores[client.core]);
            for (key, operation) in client.operations(number, &self.facts.tags, &now) {
                cover(&operation, &mut self.coverage);
                histories[key].push(operation);
            }
        }
        for upstream in self.cores.iter().filter_map(|core| core.upstream.as_ref()) {
            for (key, operation) in upstream.operations() {
                histories[key].push(operation);
            }
        }
        for (key, history) in self.facts.keys.iter().zip(histories) {
            check_history(key, &history);
        }
    }
}

/// Notes what is worth a check.
fn cover(operation: &Operation, coverage: &mut Coverage) {
    match operation.said {
        Said::Found { is_stale: Some(true), .. } => coverage.reach("stale value"),
        Said::Found { what: What::Unchanged, .. } => coverage.reach("unchanged"),
        Said::Number(_) => coverage.reach("number"),
        Said::NotANumber => coverage.reach("not a number"),
        Said::Refused => coverage.reach("condition refused"),
        _ => {}
    }
    if let Said::Found { lease: Some(right), .. } | Said::Absent(Some(right)) = operation.said {
        let is_stale = matches!(operation.said, Said::Found { .. });
        coverage.reach(match (right, is_stale) {
            (Right::Granted, false) => "lease granted",
            (Right::Wait, false) => "lease taken",
            (Right::Granted, true) => "lease granted on a stale value",
            (Right::Wait, true) => "lease taken on a stale value",
        });
    }
    let is_change = matches!(operation.said, Said::Replaced | Said::Changed | Said::Number(_));
    match (operation.call, operation.condition) {
        (_, If::Is(_)) if is_change => coverage.reach("version matched"),
        (Call::Touch { .. }, _) if is_change => coverage.reach("touched"),
        (Call::Delete, _) if is_change => coverage.reach("deleted"),
        _ => {}
    }
}

fn check_history(key: &str, history: &[Operation]) {
    for operation in history {
        if let Said::Found { what: What::Value(read), .. } = operation.said {
            let sought = Content::Value(read);
            let is_put = |other: &Operation| matches!(other.call, Call::Put { content, .. } if content == sought);
            assert!(history.iter().any(is_put), "{key:?}: value {read} should not be there");
        }
    }
    if !is_linearizable(history.to_vec()) {
        for operation in history {
            eprintln!("{operation:?}");
        }
        panic!("{key:?}: no order of these operations explains what was seen");
    }
}
