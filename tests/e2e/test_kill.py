"""kill -9 of each of the three daemons at random moments under load: nothing that got a 250 is lost, nothing comes twice
but what was between final dot and reply at a deliverer that died."""
import os
import random
import time

import pytest

from harness.load import ACCEPTED, UNKNOWN, Load
from harness.oracle import Oracle
from harness.wait import wait_until

SOAK = bool(os.environ.get("POSTRIDER_SOAK"))
ROUNDS = 200 if SOAK else 20
SEED = int(os.environ.get("POSTRIDER_SEED", "20261121"))
# Jobs of a deliverer that is gone are given out again after hold_time at the latest; retries come soon.
CONFIG = {"queue": {"hold_time": "20s", "retry": ["1s", "2s"], "retry_jitter": "10%"},
          "log": {"level": "info"},
          "ingress": {"timeouts": {"commit": "5s"}},
          "limits": [{"destination": "*", "connections": 8, "messages_per_connection": 20}]}


def rounds(box, load, rng, roles, n):
    """Kills one role a round at a random moment, brings it back; returns the kills of deliverers."""
    kills = []
    for i in range(n):
        role = roles[i % len(roles)]
        done = load.books.count(ACCEPTED)
        # At least some mail between two kills, then a random moment.
        wait_until(lambda: load.books.count(ACCEPTED) >= done + 15, 60, f"mail flows before round {i} ({role})")
        moment = time.monotonic() + rng.uniform(0, 0.25)
        wait_until(lambda: time.monotonic() >= moment, 5, poll=0.001)
        with box.sink.lock:
            open_ = box.sink.open
        now = time.time()
        box.processes[role].kill()
        if role == "deliverer":
            kills.append((now, open_))
        box.processes[role].start()
        box.wait_ready([role])
    return kills


def judge(box, load, kills):
    """After the load has ended and the queue is empty."""
    books = load.stop()
    box.wait_ready()
    wait_until(lambda: not box.messages(), 120, lambda: f"queue empties, has {box.messages()[:5]}")
    wrong = Oracle(books, box.sink.all(), kills=kills).check()
    accepted = books.count(ACCEPTED)
    print(f"{len(books.records)} sent, {accepted} accepted, {books.count(UNKNOWN)} unknown, "
          f"{len(box.sink.all())} delivered, {len(kills)} deliverer kills")
    assert accepted > 100
    assert not wrong, "\n".join(wrong[:20]) + f"\n({len(wrong)} in all, seed {SEED})"


@pytest.mark.deadline(1800 if SOAK else 420)
def test_kill_each_role_under_load(box):
    rng = random.Random(SEED)
    print("seed", SEED)
    box.start(config=CONFIG)
    load = Load(box.address, sessions=10, seed=SEED).start()
    kills = rounds(box, load, rng, ["ingress", "scheduler", "deliverer"], ROUNDS)
    judge(box, load, kills)


@pytest.mark.deadline(300)
def test_kill_the_scheduler_only(box):
    """A leader that dies and comes back: not one duplicate, since every lease is adopted."""
    rng = random.Random(SEED + 1)
    box.start(config=CONFIG)
    load = Load(box.address, sessions=6, seed=SEED + 1, pause=0.01).start()
    rounds(box, load, rng, ["scheduler"], 6)
    judge(box, load, [])


@pytest.mark.deadline(300)
def test_kill_all_three_at_once(box):
    """Power loss of the machine's processes: the log is replayed, the queue goes on."""
    rng = random.Random(SEED + 2)
    box.start(config=CONFIG)
    load = Load(box.address, sessions=6, seed=SEED + 2, pause=0.01).start()
    kills = []
    for i in range(4):
        done = load.books.count(ACCEPTED)
        wait_until(lambda: load.books.count(ACCEPTED) >= done + 20, 60, f"mail flows before round {i}")
        moment = time.monotonic() + rng.uniform(0, 0.25)
        wait_until(lambda: time.monotonic() >= moment, 5, poll=0.001)
        kills.append((time.time(), box.sink.open))
        for role in ("scheduler", "ingress", "deliverer"):
            box.processes[role].kill()
        for p in box.processes.values():
            p.start()
        box.wait_ready()
    judge(box, load, kills)


@pytest.mark.deadline(240)
def test_restarts_lose_nothing_and_repeat_nothing(box):
    """Orderly restarts of each role under load: not even the excuse of a kill."""
    box.start(config=CONFIG)
    load = Load(box.address, sessions=6, seed=SEED + 3, pause=0.01).start()
    for role in ("ingress", "deliverer", "scheduler") * 2:
        done = load.books.count(ACCEPTED)
        wait_until(lambda: load.books.count(ACCEPTED) >= done + 15, 60, "mail flows")
        box.restart(role)
    judge(box, load, [])


def test_queued_mail_survives_a_kill(box):
    """Deferred mail is found again after kill -9 of everything, with its attempts."""
    box.sink.down()
    box.start(config={"queue": {"retry": ["1h"]}})
    ids = {box.submit(f"kept{i}@dest.example") for i in range(30)}
    # Not all are tried: after some refused connections the destination is suspended.
    wait_until(lambda: any(m["attempts"] >= 1 for m in box.messages()) and len(box.messages()) == 30, 60, "some were tried")
    for p in box.processes.values():
        p.kill()
    for p in box.processes.values():
        p.start()
    box.wait_ready()
    messages = box.messages()
    assert {m["id"] for m in messages} == ids
    box.sink.up()
    box.api.post("/api/v1/actions", {"action": "retry", "all": True})
    for i in range(30):
        box.sink.one(f"kept{i}@dest.example")
    box.queue_empty()
