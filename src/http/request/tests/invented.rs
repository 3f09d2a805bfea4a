//! Heads that nobody wrote: changed in some places, cut, and followed by one another.

use super::{LIMITS, after, read};
use crate::{
    config::Limits,
    http::request::{HeadScan, is_token, parse_head, scan::find_control},
};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_assert_eq, prop_oneof};
use proptest::{prop_assert, proptest, sample};

/// Bytes that mean something in a head, and some that never do.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![sample::select(b"\r\n\t :/?#\\,;=%*.019aGHTP\0\x7f\x80\xff".to_vec()), any::<u8>()]
}

/// Good heads, each changed in a few places, one after another.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    const HEADS: [&str; 6] = [
        "GET /get?key=a HTTP/1.1\r\nHost: h\r\n\r\n",
        "\r\nPOST /put HTTP/1.1\r\nHost: h:1\r\nContent-Length: 12\r\nExpect: 100-continue\r\n\r\n",
        "PUT http://[::1]/kv/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nX: \t a b \r\n\r\n",
        "OPTIONS * HTTP/1.2\r\nHost: h\r\nConnection: close, x\r\nContent-Type: a/b\r\n\r\n",
        "GET / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Encoding: gzip\r\n\r\n",
        "CONNECT h:1 HTTP/1.1\r\nHost: %41\r\n\r\n",
    ];
    let change = (any::<sample::Index>(), 0..3_usize, prop::collection::vec(byte(), 0..4));
    let changed = (sample::select(HEADS.to_vec()), prop::collection::vec(change, 0..4)).prop_map(
        |(head, changes)| {
            let mut bytes = head.as_bytes().to_vec();
            for (at, removed, added) in changes {
                let at = at.index(bytes.len() + 1);
                let end = (at + removed).min(bytes.len());
                bytes.splice(at..end, added);
            }
            bytes
        },
    );
    prop::collection::vec(changed, 1..3).prop_map(|heads| heads.concat())
}

/// What an accepted head looks like, read in the most naive way.
fn looks_right(head: &[u8]) -> bool {
    let Some(lines) = head.strip_suffix(b"\r\n\r\n") else { return false };
    let text: String = lines.iter().copied().map(char::from).collect();
    let mut lines = text.split("\r\n");
    let request_line: Vec<_> = lines.next().unwrap_or_default().split(' ').collect();
    !text.replace("\r\n", "").contains(|c: char| c != '\t' && c.is_ascii_control())
        && matches!(request_line[..], [method, target, version]
            if is_token(method.as_bytes()) && target.is_ascii() && version.starts_with("HTTP/1."))
        && lines.all(|line| line.split_once(':').is_some_and(|(name, _)| is_token(name.as_bytes())))
}

#[test]
fn fields_that_are_repeated_are_known_but_for_those_that_matter() {
    let known = |first: &str, fields: &str, second: &str| {
        let earlier = format!("{first}{fields}\r\n\r\n");
        let later = format!("{second}{fields}\r\n\r\nGET / ");
        assert!(matches!(read(earlier.as_bytes(), [earlier.len()]), Ok(Some(_))), "{earlier}");
        after(earlier.as_bytes(), later.as_bytes()).is_some()
    };
    let get = |fields| known("GET /a HTTP/1.1\r\n", fields, "GET /get?key=b HTTP/1.1\r\n");
    for fields in [
        "Host: h",
        "Host: h\r\nUser-Agent: curl/8\r\nAccept: */*",
        "Host: h\r\nAccept-Encoding: gzip\r\nConnection: keep-alive\r\nIf-None-Match: *",
        "Host: h\r\nContent-Length: 0",
    ] {
        assert!(get(fields), "{fields}");
    }
    for fields in [
        "Host: h\r\nAuthorization: Bearer secret",
        "Host: h\r\nConnection: close",
        "Host: h\r\nContent-Length: 1",
        "Host: h\r\nTransfer-Encoding: chunked",
        "Host: h\r\nExpect: 100-continue\r\nContent-Length: 1",
        "Host: h\r\nContent-Type: text/plain",
        "Host: h\r\nContent-Encoding: br",
    ] {
        assert!(!get(fields), "{fields}");
    }
    let get = "GET / HTTP/1.1\r\n";
    assert!(!known(get, "Host: h", "GET / HTTP/1.0\r\n"));
    assert!(!known(get, "Host: h", "POST / HTTP/1.1\r\n"));
    assert!(!known("GET / HTTP/1.0\r\n", "Host: h", get));
    let long = format!("Host: h\r\nA: {}", "a".repeat(600));
    assert!(!known(get, &long, get));
    let target = "a".repeat(LIMITS.target_bytes_max - 1);
    assert!(known(get, "Host: h", &format!("GET /{target} HTTP/1.1\r\n")));
    assert!(!known(get, "Host: h", &format!("GET /{target}a HTTP/1.1\r\n")));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_first_control_byte_is_found(bytes in prop::collection::vec(prop_oneof![4 => 0x20..=0xff_u8, 1 => any::<u8>()], 0..40)) {
        prop_assert_eq!(find_control(&bytes), bytes.iter().position(|&byte| byte < 0x20));
    }

    #[test]
    fn cuts_never_change_the_verdict(
        input in prop_oneof![mutated(), prop::collection::vec(byte(), 0..200)],
        cuts in prop::collection::vec(any::<sample::Index>(), 0..6),
    ) {
        let whole = read(&input, [input.len()]);
        let mut lengths: Vec<_> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        lengths.sort_unstable();
        lengths.push(input.len());
        prop_assert_eq!(read(&input, lengths), whole);
        prop_assert_eq!(read(&input, 0..=input.len()), whole);
    }

    #[test]
    fn fields_that_are_repeated_change_no_verdict(input in mutated(), cut in any::<sample::Index>()) {
        // The same head, one with a byte less, and what it may be followed by.
        let mut shorter = input.clone();
        shorter.remove(cut.index(input.len()));
        for (earlier, input) in [(&input, &input), (&input, &shorter), (&shorter, &input)] {
            let input = [&input[..], b"GET"].concat();
            if let Some(found) = after(earlier, &input) {
                prop_assert_eq!(read(&input, [input.len()]), Ok(Some(found)));
            }
        }
    }

    #[test]
    fn what_is_accepted_looks_right(input in mutated()) {
        let mut scan = HeadScan::default();
        if let Ok(Some(span)) = scan.advance(&input, &LIMITS) {
            let head = &input[span.start..span.end];
            if parse_head(head, &LIMITS).is_ok() {
                prop_assert!(looks_right(head), "{}", head.escape_ascii());
            }
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic(
        input in prop_oneof![mutated(), prop::collection::vec(byte(), 0..200)],
        small in prop_oneof![Just(0_usize), 1..40_usize],
    ) {
        let limits = Limits { target_bytes_max: small, head_bytes_max: small, fields_max: small, ..LIMITS };
        for limits in [LIMITS, limits] {
            if let Ok(head) = parse_head(&input, &limits) {
                prop_assert!(head.path.len() <= limits.target_bytes_max);
            }
            let mut scan = HeadScan::default();
            for length in 0..=input.len() {
                if !matches!(scan.advance(&input[..length], &limits), Ok(None)) {
                    break;
                }
            }
        }
    }
}
