"""Reads and writes 5,000 keys and checks that every value read is one that its key may have.

Each put of a key writes a new number. A read must return the number of a put that had not been
overtaken when the read began: one in flight, the last one finished, or one begun since.
"""

import collections
import datetime
import os
import random
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import runs
from locust import FastHttpUser, between, constant, events, task

KEYS = int(os.environ.get("KEYS", "5000"))
VALUE_BYTES = 128
PUT_SHARE = 0.3
# Requests a second of all users, who are so many; 0: as many as they can.
RATE = float(os.environ.get("RATE", "0"))
USERS = int(os.environ.get("USERS", "200"))


class Key:
    """What is known of one key's value."""

    def __init__(self, name):
        self.name = name
        self.clock = 0
        self.numbers = 0
        self.live = {}  # number of a put that may be visible -> when it ended, None if in flight

    def tick(self):
        self.clock += 1
        return self.clock

    def begin(self):
        number = self.numbers
        self.numbers += 1
        self.live[number] = None
        return number, self.tick()

    def end(self, number, begun):
        """Whatever had ended before this put began can no longer be read."""
        gone = [n for n, ended in self.live.items() if ended is not None and ended < begun]
        for n in gone:
            del self.live[n]
        if number in self.live:
            self.live[number] = self.tick()

    def value(self, number):
        return f"{self.name}:{number}:".ljust(VALUE_BYTES, "v")

    def wrong(self, value, visible, first_new):
        """Why `value` is not this key's, or None."""
        name, _, rest = value.partition(":")
        number = rest.partition(":")[0]
        if name != self.name or not number.isdigit() or value != self.value(int(number)):
            return f"wrong value for {self.name}: {value!r}"
        if int(number) in visible or first_new <= int(number) < self.numbers:
            return None
        return f"old value for {self.name}: {number} of {self.numbers}"


# Keys of this run alone: what an earlier run or another tool left behind is not a wrong value.
RUN = f"{time.time_ns():x}"
KEY_LIST = [Key(f"locust-{RUN}-{n}") for n in range(KEYS)]
WRONG_VALUES = []


class CacheUser(FastHttpUser):
    # Not all after the same time: Locust answers late together what it asks together.
    wait_time = between(0, 2 * USERS / RATE) if RATE else constant(0)

    @task
    def use(self):
        key = random.choice(KEY_LIST)
        if not key.numbers or random.random() < PUT_SHARE:
            self.put(key)
        else:
            self.get(key)

    def put(self, key):
        number, begun = key.begin()
        body = {"key": key.name, "value": key.value(number)}
        with self.client.post("/put", json=body, catch_response=True) as answer:
            if answer.status_code != 200:
                answer.failure(f"put: {answer.status_code} {answer.text}")
                return
        key.end(number, begun)

    def get(self, key):
        visible = set(key.live)
        first_new = key.numbers
        stored = any(ended is not None for ended in key.live.values())
        path = f"/get?key={key.name}"
        with self.client.get(path, name="/get", catch_response=True) as answer:
            if answer.status_code == 404 and not stored:
                answer.success()
                return
            if answer.status_code != 200:
                answer.failure(f"get: {answer.status_code} {answer.text}")
                return
            body = answer.json()
            wrong = key.wrong(body.get("value", ""), visible, first_new)
            if body.get("key") != key.name:
                wrong = f"wrong key for {key.name}: {body!r}"
            if wrong:
                WRONG_VALUES.append(wrong)
                answer.failure(wrong)


BEGAN = time.time()
SECONDS = collections.defaultdict(runs.histogram)


@events.request.add_listener
def record(response_time, **_):
    SECONDS[int(time.time() - BEGAN)].record_value(max(1, round(response_time * 1000)))


def write_run(environment):
    total = environment.stats.total
    wrong = len(WRONG_VALUES)
    about = {
        "name": "locust",
        "tool": "locust",
        "started": datetime.datetime.fromtimestamp(BEGAN, datetime.timezone.utc).isoformat(),
        "loop": "closed",
        "measured": "from the request sent to its answer read",
        "settings": {
            "url": environment.host,
            "users": environment.parsed_options.num_users,
            "keys": KEYS,
            "put_share": PUT_SHARE,
        },
        "results": {
            "seconds": time.time() - BEGAN,
            "rate_asked": RATE or None,
            "rate": total.total_rps,
            "requests": total.num_requests,
            "errors": {"wrong": wrong, "failed": total.num_failures - wrong},
        },
    }
    runs.write("target/locust", about, [(at, 1, SECONDS[at]) for at in sorted(SECONDS)])


@events.quitting.add_listener
def report(environment, **_):
    total = environment.stats.total
    write_run(environment)
    print(
        f"requests {total.num_requests}, failures {total.num_failures}, "
        f"wrong values {len(WRONG_VALUES)}, {total.total_rps:.0f} requests/s, "
        f"median {total.get_response_time_percentile(0.5)} ms, "
        f"p95 {total.get_response_time_percentile(0.95)} ms, "
        f"p99 {total.get_response_time_percentile(0.99)} ms"
    )
    for wrong in WRONG_VALUES[:10]:
        print(wrong)
    if total.num_failures or WRONG_VALUES or not total.num_requests:
        environment.process_exit_code = 1
