//! What the HTTP machine makes of byte streams, for `scripts/differential.py`.
//!
//! Standard input: streams, each after its length as a little-endian u32. Standard output: one line
//! of JSON for each, `{"requests": [{method, path, query, body}], "end": E}`, where E is `open`,
//! `close` after a request that asks for it, or the code of the error. Bytes are written as the
//! characters U+0000 to U+00FF.

use kvcache::{
    config::Limits,
    http::{Error, Next, Port, Reader, Request, request::RepeatedFields},
    wire::Input,
};
use serde_json::{Value, json};
use std::io::{self, BufWriter, Read, Write};

fn main() -> io::Result<()> {
    let mut input = Vec::new();
    io::stdin().read_to_end(&mut input)?;
    let mut output = BufWriter::new(io::stdout());
    let mut rest = input.as_slice();
    while let Some((length, after)) = rest.split_first_chunk() {
        let (stream, after) = after.split_at(u32::from_le_bytes(*length) as usize);
        let mut requests = Vec::new();
        let end = match read(stream, &mut requests) {
            Ok(keep_alive) => {
                if keep_alive {
                    "open"
                } else {
                    "close"
                }
            }
            Err(error) => error.code(),
        };
        writeln!(output, "{}", json!({ "requests": requests, "end": end }))?;
        rest = after;
    }
    output.flush()
}

/// Appends what `stream` holds. Returns whether more may follow.
fn read(stream: &[u8], taken: &mut Vec<Value>) -> Result<bool, Error> {
    let mut reader = Reader::new(Port::Data);
    let mut input = Input::new(Vec::new(), stream, false);
    let mut fields = RepeatedFields::default();
    loop {
        match reader.next(&mut input, &mut fields, &Limits::DEFAULT)? {
            Next::Request(request) => {
                taken.push(describe(&request));
                if !request.head.keep_alive {
                    return Ok(false);
                }
            }
            Next::Head(_) => {}
            Next::Partial => return Ok(true),
        }
    }
}

fn describe(request: &Request<'_>) -> Value {
    let text = |bytes: &[u8]| bytes.iter().copied().map(char::from).collect::<String>();
    json!({
        "method": format!("{:?}", request.head.method),
        "path": text(request.head.path),
        "query": request.head.query.map(text),
        "body": text(request.body),
    })
}
