#!/usr/bin/env python3
"""Holds the framing of requests to h11's: mutated streams of requests, split by both.

Usage: scripts/differential.py [--streams 100000] [--seed 1]

No stream that both accept may be split differently: as many requests, each of the same method,
target and body. No stream that h11 refuses may be accepted. We may refuse what h11 accepts, and
accept what it refuses, only where STRICTER and TOLERANT say so. Exit 1 on any other difference,
which is printed. Makes a virtual environment below target/.
"""

import argparse
import ast
import collections
import json
import random
import re
import struct
import subprocess
import sys

import environment

H11 = "h11==0.16.0"
SLICE = 5000

# Our codes for what h11 takes and we refuse, and where the specification lets us.
STRICTER = {
    "bad_chunk_extension": "RFC 9112, 7.1.1: the grammar of extensions, which h11 skips",
    "bad_chunk_size": "RFC 9112, 7.1: no white space after it; at most 16 digits",
    "bad_content_length": "RFC 9110, 8.6: a list of equal values may be refused",
    "bad_field_name": "RFC 9112, 5.2: a server may refuse folded lines",
    "bad_field_value": "RFC 9110, 5.5: no control characters (DEL)",
    "bad_host": "RFC 9112, 3.2: a Host that is not a host is 400",
    "bad_target": "RFC 9112, 3.2: four forms of targets, all of URI characters",
    "bad_trailer": "RFC 9112, 7.1.2 and 5.2: folded lines, control characters, line ends",
    "bare_lf": "RFC 9112, 2.2: a recipient may take it for a line end, and need not",
    "control_character": "RFC 9110, 5.5",
    "length_and_transfer_encoding": "RFC 9112, 6.1: a server may refuse both together",
    "missing_host": "RFC 9112, 3.2, for every HTTP/1.x from 1.1 on",
    "repeated_content_length": "RFC 9110, 8.6: equal values may be refused",
    "repeated_content_type": "RFC 9110, 5.3 and 8.3: not a list",
    "transfer_encoding_in_http_1_0": "RFC 9112, 6.1: faulty framing",
    "version_not_supported": "RFC 9110, 15.6.6",
}

# What we take and h11 does not. `reference` puts each right for h11 and goes on, so that what
# follows is compared too.
TOLERANT = {
    "empty lines": "RFC 9112, 2.2: at least one empty line before a request ought to be ignored",
    "HTTP/1.0 keep-alive": "RFC 9112, 9.3 and C.2.2: h11 closes after every HTTP/1.0 request",
    "space before extension": "RFC 9112, 7.1.1: BWS before `;`; must be parsed (RFC 9110, 5.6.3)",
    "framing in trailer": "RFC 9110, 6.5.1: such trailer fields are ignored; h11 validates them",
}
# At most eight of them; a lone CR may be the start of one more.
EMPTY_LINES = re.compile(rb"(?:\r\n){0,8}(?:\r\Z)?")
CHUNK_ERROR = re.compile(r"illegal chunk header: bytearray\((.*)\)", re.DOTALL)
SPACE_BEFORE_EXTENSION = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]+(;.*\r\n)", re.DOTALL)
TRAILER_ERROR = re.compile("Content-Length|Transfer-Encoding")
KNOWN_METHODS = "GET HEAD POST PUT DELETE OPTIONS PATCH TRACE CONNECT".split()


# Streams


BODIES = [
    b"",
    b"hello",
    b'{"key":"a","value":"b"}',
    b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    b"\r\n" * 3,
]
TARGETS = [b"/get?key=a", b"/", b"/put", b"http://h/kv/a?b", b"HTTPS://h", b"/a%20b/../c", b"/?"]
METHODS = [b"GET", b"POST", b"PUT", b"HEAD", b"DELETE", b"OPTIONS", b"BREW", b"get", b"PATCH"]
FIELDS = [
    b"Accept: */*", b"Accept: a, b", b"Connection: keep-alive", b"X: a\tb \xff", b"Y:",
    b"Content-Type: application/json", b"Expect: 100-continue", b"Upgrade: h2c",
]  # fmt: skip
EXTENSIONS = [b"", b"", b"", b";a", b";a=b", b';a="b;\\"c"', b" ; a = b", b";a;b"]
TRAILERS = [b"", b"", b"X: y\r\n", b"Content-Length: 3\r\n", b"Transfer-Encoding: gzip\r\n"]

# Pieces that mutations put in: parts of framing, right and wrong.
LINES = [
    b"Content-Length: 5", b"Content-Length: 0", b"Content-Length: 5, 5", b"Content-Length: +5",
    b"Content-Length: 0x5", b"Content-Length: 05", b"Content-Length: 5 ", b"Content-Length:",
    b"Content-Length : 5", b"Content-Length: 18446744073709551617", b"Content-Length: 5;",
    b"Content-Length: 5_0", b"Content-Length: -0", b"content-length:5", b"Content-Length\t:5",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: CHUNKED", b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding: chunked, chunked", b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: identity", b"Transfer-Encoding:\x0bchunked", b"Transfer-Encoding:",
    b"Transfer-Encoding: chunked,", b"Transfer-Encoding : chunked",
    b"Transfer-Encoding:\r\n chunked",
    b"Transfer-Encoding: \"chunked\"", b"Transfer-Encoding: chunked;q=1", b"Host: h",
    b"Host: other",
    b"Connection: close", b"Connection: keep-alive, close", b" folded: x", b"\tfolded", b"no colon",
    b"X: a\r\n b", b"X: a\rb", b"X: a\nb", b"X: a\0b", b"Bad[Name: x", b": x",
    b"X\x80: y", b"X: \x7f",
]  # fmt: skip
TOKENS = [
    b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"\n\n", b"\r\r\n", b" ", b"\t", b"\0", b"\x0b", b"\x0c",
    b":", b";", b",", b"\"", b"0\r\n\r\n", b"5\r\nhello\r\n", b"0", b"00", b"0x", b"+", b"-", b"_",
    b"ffffffffffffffff", b"10000000000000005", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b" HTTP/1.1",
    b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", b"\xc2\xa0", b"\x85", b"\xa0", b"\x1c", b"#", b"\\", b"%",
]  # fmt: skip


def chunks(rng, body):
    """`body` in chunks, with an extension or a trailer here and there."""
    out = []
    while body:
        size = rng.randint(1, len(body))
        digits = rng.choice(["%x", "%X", "0%x"]) % size
        out += [digits.encode(), rng.choice(EXTENSIONS), b"\r\n", body[:size], b"\r\n"]
        body = body[size:]
    return b"".join([*out, b"0", rng.choice(EXTENSIONS), b"\r\n", rng.choice(TRAILERS), b"\r\n"])


def message(rng):
    """A request that is right, or nearly."""
    line = b" ".join((rng.choice(METHODS), rng.choice(TARGETS), b"HTTP/1.1"))
    line = rng.choice([line] * 20 + [b"OPTIONS * HTTP/1.1", b"CONNECT h:80 HTTP/1.1"])
    version = rng.choice([b"1.1"] * 20 + [b"1.0", b"1.2"])
    lines = [line[:-3] + version, b"Host: h:7171"]
    lines += rng.sample(FIELDS, rng.choice((0, 0, 1, 2)))
    body = rng.choice(BODIES)
    if version > b"1.0" and rng.random() < 0.4:
        lines.append(b"Transfer-Encoding: chunked")
        body = chunks(rng, body)
    elif body or rng.random() < 0.3:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n" * rng.choice((0, 0, 0, 0, 1, 2)) + b"\r\n".join(lines) + b"\r\n\r\n" + body


def flip(rng, stream, at):
    return stream[:at] + bytes([rng.randrange(256)]) + stream[at + 1 :]


def drop(rng, stream, at):
    return stream[:at] + stream[at + rng.choice((1, 1, 2, rng.randint(1, 40))) :]


def repeat(rng, stream, at):
    piece = stream[at : at + rng.randint(1, 40)]
    return stream[:at] + piece + stream[at:]


def put_token(rng, stream, at):
    return stream[:at] + rng.choice(TOKENS) + stream[at:]


def put_line(rng, stream, at):
    """One more line, or another instead, in a head."""
    start = stream.find(b"\r\n", at) + 2
    end = stream.find(b"\r\n", start) + 2 if rng.random() < 0.5 else start
    return stream[:start] + rng.choice(LINES) + b"\r\n" + stream[end:]


def change_line_end(rng, stream, at):
    at = stream.find(b"\r\n", at)
    if at < 0:
        return stream
    return stream[:at] + rng.choice([b"\n", b"\r", b"\r\r\n", b"", b"\r\n "]) + stream[at + 2 :]


def swap_case(rng, stream, at):
    end = at + rng.randint(1, 30)
    return stream[:at] + stream[at:end].swapcase() + stream[end:]


def change_number(rng, stream, at):
    found = re.compile(rb"[0-9]+").search(stream, at)
    if not found:
        return stream
    number = rng.choice(
        [b"%d" % rng.randrange(40), b"0" + found[0], found[0] + b" ", b" " + found[0]]
    )
    return stream[: found.start()] + number + stream[found.end() :]


def cut(_rng, stream, at):
    return stream[:at]


def splice(rng, stream, at):
    other = message(rng)
    return stream[:at] + other[rng.randrange(len(other)) :]


MUTATIONS = [
    flip, drop, repeat, put_token, put_token, put_line, put_line, put_line, change_line_end,
    swap_case, change_number, change_number, cut, splice,
]  # fmt: skip


def mutated(rng):
    stream = b"".join(message(rng) for _ in range(rng.randint(1, 4)))
    for _ in range(rng.choice((0, 1, 1, 1, 1, 2, 2, 3))):
        if stream:
            stream = rng.choice(MUTATIONS)(rng, stream, rng.randrange(len(stream)))
    return stream


# Both sides

Split = collections.namedtuple("Split", "requests end")


def ours(streams):
    """What `benches/framing.rs` makes of each."""
    command = ["cargo", "bench", "--quiet", "--locked", "--profile", "dev", "--bench", "framing"]
    packed = b"".join(struct.pack("<I", len(stream)) + stream for stream in streams)
    root = environment.ROOT
    ran = subprocess.run(command, input=packed, stdout=subprocess.PIPE, check=True, cwd=root)
    for line in ran.stdout.splitlines():
        split = Split(**json.loads(line))
        methods = [request["method"] for request in split.requests]
        if "Connect" in methods:
            # What follows is for the tunnel that we refuse.
            split = Split(split.requests[: methods.index("Connect") + 1], "close")
        yield split


def reference(stream, tolerated):
    """What h11 makes of it: one connection for each request, over what the last one left."""
    requests = []
    while True:
        if empty := EMPTY_LINES.match(stream).end():
            tolerated["empty lines"] += 1
            stream = stream[empty:]
        if not stream:
            # To h11 no bytes are the end of input.
            return Split(requests, "open")
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 30)
        connection.receive_data(stream)
        request, body = None, b""
        try:
            while type(event := connection.next_event()) is not h11.EndOfMessage:
                if event is h11.NEED_DATA:
                    return Split(requests, "open")
                if type(event) is h11.Request:
                    request = event
                else:
                    body += event.data
            rest = connection.trailing_data[0]
        except h11.RemoteProtocolError as error:
            rest = connection.trailing_data[0]
            line = CHUNK_ERROR.match(str(error))
            line = ast.literal_eval(line[1]) if line else b""
            if spaced := SPACE_BEFORE_EXTENSION.fullmatch(line):
                tolerated["space before extension"] += 1
                before = stream[: len(stream) - len(rest) - len(line)]
                stream = before + spaced[1] + spaced[2] + rest
                continue
            if request is None or not TRAILER_ERROR.search(str(error)):
                # A word on a line that has not ended; there is no request to refuse yet.
                early = str(error) == "illegal request line"
                return Split(requests, "open" if early else str(error))
            tolerated["framing in trailer"] += 1
        requests.append(described(request, body))
        if closes(request, tolerated):
            return Split(requests, "close")
        stream = rest


def described(request, body):
    """A request of h11's in the words of `benches/framing.rs`."""
    method = request.method.decode()
    path, mark, query = request.target.decode().partition("?")
    if method == "CONNECT":
        path, mark = "", ""
    elif origin := re.match(r"(?i)https?://[^/]*", path):
        path = path[origin.end() :] or "/"
    return {
        "method": method.capitalize() if method in KNOWN_METHODS else "Unknown",
        "path": path,
        "query": query if mark else None,
        "body": body.decode("latin-1"),
    }


def closes(request, tolerated):
    """Whether no other request follows (RFC 9112, 9.3)."""
    values = [value for name, value in request.headers if name == b"connection"]
    options = {option.strip().lower() for option in b",".join(values).split(b",")}
    if request.method == b"CONNECT" or b"close" in options:
        return True
    if request.http_version < b"1.1" and b"keep-alive" in options:
        tolerated["HTTP/1.0 keep-alive"] += 1
        return False
    return request.http_version < b"1.1"


def difference(mine, theirs):
    """What must not be, in words."""
    pairs = zip(mine.requests, theirs.requests)
    differing = next((n for n, (one, other) in enumerate(pairs) if one != other), None)
    mine_refuses = mine.end not in ("open", "close")
    if differing is not None:
        return f"request {differing} is not the same"
    if len(mine.requests) > len(theirs.requests):
        return "we accept what h11 does not"
    if len(mine.requests) < len(theirs.requests):
        return None if mine.end in STRICTER else "h11 accepts what we neither accept nor may refuse"
    if mine_refuses or mine.end == theirs.end:
        return None
    return f"we say {mine.end} and h11 says {theirs.end}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    counts, stricter, tolerated = (collections.Counter() for _ in range(3))
    differences = 0
    for first in range(0, arguments.streams, SLICE):
        streams = [mutated(rng) for _ in range(min(SLICE, arguments.streams - first))]
        for stream, mine in zip(streams, ours(streams), strict=True):
            theirs = reference(stream, tolerated)
            counts["requests that both took"] += len(mine.requests)
            if mine.end in ("open", "close"):
                counts["streams that both took to their end"] += 1
            elif len(mine.requests) < len(theirs.requests):
                counts["streams of which we refused a request that h11 took"] += 1
                stricter[mine.end] += 1
            else:
                counts["streams refused after as many requests by both, or cut there"] += 1
            if found := difference(mine, theirs):
                differences += 1
                print(f"DIFFERENCE: {found}\n  {stream}\n  ours: {mine}\n  h11's: {theirs}")
    print(f"{arguments.streams} streams, seed {arguments.seed}, against {H11}")
    for name, count in counts.items():
        print(f"{count:>8} {name}")
    for name, count in sorted(stricter.items()):
        print(f"{count:>8} only we refused: {name} ({STRICTER.get(name)})")
    for name, count in sorted(tolerated.items()):
        print(f"{count:>8} h11 was helped: {name} ({TOLERANT[name]})")
    compared = counts["requests that both took"] >= arguments.streams / 2
    print(f"{'ok' if compared and not differences else 'MISSED'}: {differences} differences")
    return 0 if compared and not differences else 1


if __name__ == "__main__":
    environment.enter("differential", H11)
    import h11

    sys.exit(main())
