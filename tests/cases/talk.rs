//! One client that waits for each of its answers.

use crate::{
    common::answer::Answer,
    common::cluster::{Client, Cluster, End},
    input::request,
    tell::config,
};
use kvcache::{config::Config, shard::Role};
use std::time::Duration;

/// One client that waits for each of its answers.
pub(crate) struct Talk {
    pub(crate) cluster: Cluster,
    pub(crate) client: Client,
}

impl Talk {
    pub(crate) fn new() -> Self {
        Self::with(&config(2))
    }

    pub(crate) fn with(config: &Config) -> Self {
        let mut cluster = Cluster::new(config);
        let client = cluster.connect(0, Role::Data);
        Self { cluster, client }
    }

    pub(crate) fn ask(
        &mut self,
        method: &str,
        target: &str,
        fields: &str,
        body: impl AsRef<[u8]>,
    ) -> Answer {
        self.cluster.send(self.client, request(method, target, fields, body));
        let output = self.cluster.output(self.client);
        let (answer, length) = Answer::read(&output, method == "HEAD").unwrap();
        assert_eq!(length, output.len(), "{}", output.escape_ascii());
        assert_eq!(self.cluster.end(self.client), End::Open);
        answer
    }

    pub(crate) fn get(&mut self, target: &str, fields: &str) -> Answer {
        self.ask("GET", target, fields, "")
    }

    pub(crate) fn put(&mut self, target: &str, fields: &str, body: impl AsRef<[u8]>) -> u16 {
        self.ask("PUT", target, fields, body).status
    }

    pub(crate) fn tag(&mut self, target: &str) -> String {
        self.get(target, "").field("etag").unwrap().to_owned()
    }

    pub(crate) fn pass(&mut self, millis: u64) {
        self.cluster.pass(Duration::from_millis(millis));
    }
}

/// Both keys, of which each lies on a shard of its own.
pub(crate) const KEYS: [&str; 2] = ["/kv/a", "/kv/b"];
