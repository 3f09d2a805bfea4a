//! Which shard gets a new connection: one shard counts for all, so the spread is exact.

/// The connections of each shard, as the shard that places them knows them.
#[derive(Debug)]
pub(super) struct Placement {
    open: Vec<usize>,
    total: usize,
    connections_max: usize,
}

impl Placement {
    pub(super) fn new(shards: usize, connections_max: usize) -> Self {
        Self { open: vec![0; shards], total: 0, connections_max }
    }

    /// Fewer than are open closes none of them.
    pub(super) fn set_connections_max(&mut self, connections_max: usize) {
        self.connections_max = connections_max;
    }

    /// The shard for a connection that `source` accepted: `source` itself unless another has
    /// fewer. `None` when all `connections_max` are taken.
    pub(super) fn place(&mut self, source: usize) -> Option<usize> {
        if self.total >= self.connections_max {
            return None;
        }
        let fewest = self.open.iter().copied().min().unwrap_or_default();
        let target = if self.open[source] == fewest {
            source
        } else {
            self.open.iter().position(|&open| open == fewest).unwrap_or(source)
        };
        self.open[target] += 1;
        self.total += 1;
        Some(target)
    }

    /// Connections of `shard` were closed.
    pub(super) fn closed(&mut self, shard: usize, connections: usize) {
        self.open[shard] -= connections;
        self.total -= connections;
    }
}

#[cfg(test)]
mod tests {
    use super::Placement;

    #[test]
    fn no_shard_is_more_than_one_ahead() {
        for shards in 1..=4 {
            let mut placement = Placement::new(shards, 100);
            for connections in 1..=32 {
                // The kernel gives everything to the first shard's listener.
                placement.place(0).unwrap();
                let fewest = placement.open.iter().min().unwrap();
                let most = placement.open.iter().max().unwrap();
                assert!(most - fewest <= 1, "{connections} over {shards}: {:?}", placement.open);
            }
        }
    }

    #[test]
    fn a_connection_stays_where_it_was_accepted_when_that_is_even() {
        let mut placement = Placement::new(2, 100);
        assert_eq!(placement.place(1), Some(1));
        assert_eq!(placement.place(1), Some(0));
        assert_eq!(placement.place(1), Some(1));
        placement.closed(1, 2);
        assert_eq!(placement.place(0), Some(1));
    }

    #[test]
    fn the_cap_holds_and_lifts() {
        let mut placement = Placement::new(2, 3);
        for _ in 0..3 {
            assert!(placement.place(0).is_some());
        }
        assert_eq!(placement.place(0), None);
        placement.closed(1, 1);
        assert_eq!(placement.place(0), Some(1));
    }
}
