#!/usr/bin/env python3
"""Looks at the live page in headless Chromium while load runs, and holds it to what /stats tells.

scripts/page.py DIRECTORY [BINARY] writes screenshots to DIRECTORY: idle, under load, dark, 375 px
wide, overloaded, and with the server gone. BINARY is target/release/kvcache where it is not told; PORT (17371)
and the one after it are the server's. Needs Chromium (or what CHROMIUM names); playwright comes
from PyPI into target/.
"""

import http.client
import json
import os
import random
import shutil
import sys
import threading
import time

import bench
import environment

PLAYWRIGHT = "playwright>=1.50,<2"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 375, "height": 812}
PORT = int(os.environ.get("PORT", "17371"))
ADMIN_PORT = PORT + 1
PAGE = f"http://127.0.0.1:{ADMIN_PORT}/"
LOAD_POLLS = 14

failures = []


def check(what, kept, found=""):
    print(f"{'ok' if kept else 'FAILED'}: {what}{'' if kept else f': {found}'}")
    if not kept:
        failures.append(what)


def equal(what, found, expected):
    check(what, found == expected, f"{found!r} is not {expected!r}")


def near(what, found, expected, part):
    check(what, abs(found - expected) <= part * expected, f"{found} is not near {expected}")


def load(done, seed):
    """Reads, writes, misses, expirations and evictions until it is done."""
    rng = random.Random(seed)
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
    key = lambda: f"key-{int(rng.paretovariate(0.6)) % 40_000}"
    while not done.is_set():
        kind = rng.random()
        if kind < 0.8:
            connection.request("GET", f"/get?key={key()}")
        elif kind < 0.93:
            entry = {"key": key(), "value": "v" * rng.randrange(40, 240), "ttl": rng.choice([0.5, 600])}
            connection.request("POST", "/put", json.dumps(entry))
        elif kind < 0.95:
            entries = [{"key": f"rare-{rng.random()}", "value": "w" * 200} for _ in range(200)]
            connection.request("POST", "/mput", json.dumps({"entries": entries}))
        elif kind < 0.999:
            connection.request("POST", "/mget", json.dumps({"keys": [key() for _ in range(10)]}))
        else:
            connection.request("POST", "/put", "{")
        connection.getresponse().read()
        time.sleep(rng.uniform(0, 0.003))
    connection.close()


def number(text):
    """The number at the start of what the page shows, with its unit worked in."""
    words = text.replace("\u202f", " ").split()
    units = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "%": 0.01, "ms": 1e3, "s": 1e6, "M": 1e6}
    unit = words[1] if len(words) > 1 else ""
    return float(words[0].replace(",", "")) * units.get(unit, 1)


def cells(page, table):
    """The table's rows by their first cell."""
    rows = page.locator(f"#{table} tbody tr").all()
    texts = [row.locator("th, td").all_inner_texts() for row in rows]
    return {row[0]: row[1:] for row in texts}


def boxes(page):
    return page.evaluate("[...document.querySelectorAll('main > section')].slice(0, 6).map("
                         "it => Object.values(it.getBoundingClientRect().toJSON()))")


def fits(page, what):
    width = page.viewport_size["width"]
    wide = page.evaluate("document.documentElement.scrollWidth")
    check(f"{what}: nothing is wider than {width} px", wide <= width, wide)
    text = page.inner_text("body")
    wrong = [word for word in ("NaN", "undefined", "Infinity", "null", "[object") if word in text]
    check(f"{what}: every figure is one", not wrong, wrong)


def wait_for_state(page, text):
    page.wait_for_function("text => document.getElementById('state').textContent.startsWith(text)",
                           arg=text, timeout=15_000)


def wait_for_polls(page, count):
    last = page.evaluate("polls.at(-1)?.at ?? 0")
    for _ in range(count):
        page.wait_for_function("last => polls.at(-1)?.at > last", arg=last, timeout=10_000)
        last = page.evaluate("polls.at(-1).at")


def look_at_load(page, shot, idle):
    """The page while eight clients are busy."""
    done = threading.Event()
    threads = [threading.Thread(target=load, args=(done, seed)) for seed in range(8)]
    for thread in threads:
        thread.start()
    try:
        wait_for_polls(page, LOAD_POLLS)
        # However slow the machine is, all of it happens in the end.
        for name in ("requests", "ratio", "p50", "p99", "p999", "evictions", "expirations"):
            page.wait_for_function("name => points.some(point => point[name] > 0)", arg=name,
                                   timeout=120_000)
        wait_for_polls(page, 2)
        for name in ("Requests/s", "Forwarded/s", "CPU", "Hit ratio", "Evicted/s"):
            shown = [number(cell) for cell in cells(page, "shards")[name]]
            check(f"{name} of the shards", min(shown) > 0, shown)
        equal("connections", number(page.inner_text("#connections")), 8)
        equal("nothing has moved", boxes(page), idle)
        shot("load")
        page.emulate_media(color_scheme="dark")
        shot("dark")
        page.set_viewport_size(PHONE)
        fits(page, "phone")
        shot("phone-dark")
        page.emulate_media(color_scheme="light")
        shot("phone")
    finally:
        done.set()
        for thread in threads:
            thread.join()
    page.set_viewport_size(DESK)


def requests(report):
    kinds = report["requests"].items()
    return sum(sum(of.values()) for name, of in kinds if name not in ("admin", "health"))


def compare(page):
    """Everything that stands still now is what /stats and /latency tell."""
    # What expires is gone by then.
    wait_for_polls(page, 4)
    totals = bench.stats(ADMIN_PORT)["totals"]
    store = totals["store"]
    counted = {"requests": requests(totals), "evictions": store["evictions"],
               "expirations": store["expirations"]}
    gaps = page.evaluate("points.slice(1).filter(point => point.requests === undefined).length")
    for name, count in counted.items():
        added = page.evaluate("""name => points.slice(1).reduce((sum, point, at) =>
            sum + (point[name] ?? 0) * (point.at - points[at].at), 0)""", name)
        # A poll that took too long is a gap, whose requests no point has.
        part = 1e-6 if gaps == 0 else 1
        near(f"{name} per second, over {gaps} gaps, add up to those counted", added, count, part)
    shown = page.inner_text
    near("memory", number(shown("#memory")), store["used_bytes"], 0.01)
    near("budget", number(shown("#budget").removeprefix("of ")), store["budget_bytes"], 0.01)
    entries, with_ttl = shown("#memory-detail").split(" · ")[1].split(", ")
    equal("entries", number(entries), store["entries"])
    equal("entries with a TTL", number(with_ttl), store["entries_with_ttl"])
    equal("evictions in all", number(shown("#evictions-detail")), store["evictions"])
    ratio = store["hits"] / (store["hits"] + store["misses"])
    near("hit ratio since the start", number(shown("#ratio-detail")), ratio, 0.002)
    equal("no requests any more", (shown("#requests"), shown("#p50")), ("0", "–"))
    shards = bench.stats(ADMIN_PORT)["shards"]
    rows = cells(page, "shards")
    equal("entries of the shards", [number(cell) for cell in rows["Entries"]],
          [store["entries"], *(shard["store"]["entries"] for shard in shards)])
    found = page.evaluate("""async () => {
        const latencies = await histograms(await get("/latency?format=hlog-each"));
        return Object.fromEntries([...latencies].map(([name, of]) => [name, quantiles(of)]));
    }""")
    told = ask("/latency?format=json")["operations"]
    for name in ("get", "put", "mget", "mput"):
        told_of = {short: told[name][long] for short, long in
                   (("total", "count"), ("p50", "p50"), ("p99", "p99"), ("p999", "p99.9"))}
        equal(f"latency of {name}", found[name], told_of)


def ask(path):
    connection = http.client.HTTPConnection("127.0.0.1", ADMIN_PORT, timeout=5)
    connection.request("GET", path)
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer


def overloaded(route):
    """Answers for a server whose first shard refuses writes."""
    stats = json.loads(route.fetch().text())
    for report in (stats["totals"], stats["shards"][0]):
        report["step"] = "no_writes"
    route.fulfill(body=json.dumps(stats))


def look(browser, directory, server):
    context = browser.new_context(viewport=DESK, color_scheme="light")
    page = context.new_page()
    errors = []
    page.on("console", lambda it: it.type in ("error", "warning") and errors.append(it.text))
    page.on("pageerror", lambda error: errors.append(str(error)))

    def shot(name):
        page.screenshot(path=os.path.join(directory, f"{name}.png"), full_page=True)

    with server():
        answer = page.goto(PAGE)
        check("nothing is stored", answer.headers["cache-control"] == "no-store", answer.headers)
        wait_for_state(page, "Serving")
        wait_for_polls(page, 3)
        fits(page, "idle")
        equal("idle", page.inner_text("#requests"), "0")
        shot("idle")
        look_at_load(page, shot, boxes(page))
        compare(page)
        equal("no word on the console", errors, [])
        page.route("**/stats", lambda route: route.fulfill(status=401, body="{}"))
        wait_for_state(page, "A token is needed (401)")
        page.unroute("**/stats")
        wait_for_state(page, "Serving")
        page.route("**/stats", overloaded)
        wait_for_state(page, "Overloaded, writes refused")
        equal("the shard that refuses", cells(page, "shards")["State"],
              ["no writes", "no writes", "serving"])
        shot("overloaded")
        page.unroute("**/stats")
        wait_for_state(page, "Serving")
    wait_for_state(page, "No answer")
    shot("silent")
    with server():
        wait_for_state(page, "Serving")
        wait_for_polls(page, 2)
        equal("entries of the new process", number(cells(page, "shards")["Entries"][0]), 0)
    known = ("Failed to load resource", "net::ERR_CONNECTION")
    others = [error for error in errors if not any(word in error for word in known)]
    equal("nothing else on the console when the server is gone", others, [])


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    if CHROMIUM is None:
        sys.exit("there is no chromium on the PATH; name one with CHROMIUM=FILE")
    environment.enter("page", PLAYWRIGHT)
    from playwright.sync_api import sync_playwright  # it is there now

    directory = sys.argv[1]
    os.makedirs(directory, exist_ok=True)
    if len(sys.argv) == 3:
        bench.BINARY = os.path.abspath(sys.argv[2])
    server = lambda: bench.kvcache("--shards=2", port=PORT, admin=ADMIN_PORT, budget="4MiB")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        look(browser, directory, server)
        browser.close()
    sys.exit(f"{len(failures)} failed" if failures else 0)


if __name__ == "__main__":
    main()
