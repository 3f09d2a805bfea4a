//! The answer to a request for a snapshot: what was written, or why nothing was.

use super::super::{
    form::Exchange,
    media::JSON,
    refusal::Refusal,
    response::{Date, Response, write_refusal},
};
use crate::query::Share;
use serde_json::json;

/// Writes how it ended. Returns the status.
pub fn write(out: &mut Vec<u8>, exchange: Exchange, date: &Date, results: &[Share]) -> u16 {
    let [Share::Saved(outcome)] = results else { unreachable!("one shard writes it") };
    match outcome {
        Ok(summary) => {
            let body = json!({
                "status": "OK",
                "entries": summary.entries,
                "bytes": summary.bytes,
                "duration_ms": summary.duration_ms,
            });
            Response::begin(out, exchange, date, 200).text(JSON, body.to_string().as_bytes());
            200
        }
        Err(failure) => {
            let (status, code) =
                if failure.is_full { (507, "disk_full") } else { (500, "snapshot_failed") };
            let message = format!("No snapshot was written: {}.", failure.reason);
            let refusal = Refusal::new(status, code, message);
            write_refusal(out, exchange, date, &refusal);
            status
        }
    }
}
