"""A torn or damaged tail of the log is detected and reported, never skipped in silence."""
import glob
import os
import random
import shutil

import pytest

from harness.wait import wait_until

CONFIG = {"queue": {"shards": 1, "retry": ["1h"]}, "log": {"level": "info"}}
COUNT = 20


@pytest.fixture
def filled(box):
    """A queue with COUNT deferred messages, its scheduler killed."""
    box.sink.down()
    box.start(config=CONFIG)
    box.ids = {box.submit(f"c{i}@dest.example", content=("Subject: c%d\r\n\r\n" % i).encode() + b"body %d\r\n" % i * 50)
               for i in range(COUNT)}
    for p in box.processes.values():
        p.kill()
    return box


def segments(box):
    """Files of the Raft log, the one written last at the end."""
    found = [f for f in glob.glob(os.path.join(box.config["data_dir"], "**", "*"), recursive=True)
             if os.path.isfile(f) and (os.path.basename(f).startswith("open-")
                                       or os.path.basename(f).replace("-", "").isdigit() and "-" in os.path.basename(f))]
    assert found, "no log segments"
    return sorted(found, key=os.path.getmtime)


def used_octets(path):
    """Up to the last octet that is not zero: segments are preallocated."""
    with open(path, "rb") as f:
        return len(f.read().rstrip(b"\0"))


def start_scheduler(box):
    """'ready', or the exit code when it refused to start."""
    p = box.processes["scheduler"]
    p.start()

    def settled():
        if not p.running():
            return str(p.popen.returncode)
        try:
            return "ready" if box.admin("scheduler").status_of("/readyz") == 200 else None
        except OSError:
            return None

    return wait_until(settled, 60, lambda: "scheduler ready or ended\n" + p.log.tail())


def verdict(box, what):
    """It either refuses to start and says why, or starts with every message that is still whole, and says what it dropped."""
    state = start_scheduler(box)
    p = box.processes["scheduler"]
    log = p.log.text()
    if state != "ready":
        p.killed = True
        assert state not in ("0", "99", "-6", "-11"), f"{what}: ended with {state}\n{p.log.tail()}"
        assert [r for r in p.log.records() if r["level"] == "error"], f"{what}: refused without a word\n{log[-3000:]}"
        return "refused"
    have = {m["id"] for m in box.messages()}
    lost = box.ids - have
    assert have <= box.ids, f"{what}: messages from nowhere {have - box.ids}"
    if lost:
        told = [r for r in p.log.records() if r["level"] in ("warn", "error")]
        assert told, f"{what}: {len(lost)} messages gone in silence\n{log[-3000:]}"
        assert False, f"{what}: started without {len(lost)} acknowledged messages: {told[:3]}"
    return "whole"


def test_undamaged(filled):
    assert verdict(filled, "undamaged") == "whole"


def test_garbage_behind_the_tail(filled):
    """A record that was being written when the power went: it was never acknowledged, and the queue starts without it."""
    last = segments(filled)[-1]
    at = used_octets(last)
    with open(last, "r+b") as f:
        f.seek((at + 7) // 8 * 8)
        f.write(random.Random(1).randbytes(100))
    verdict(filled, "garbage behind the tail")


@pytest.mark.deadline(300)
def test_truncated_and_flipped(filled):
    """Cuts and flipped bits within what was acknowledged: never fewer messages without refusing."""
    box = filled
    rng = random.Random(20261121)
    data = box.config["data_dir"]
    clean = data + ".clean"
    shutil.copytree(data, clean)
    results = []
    for n in range(12):
        shutil.rmtree(data)
        shutil.copytree(clean, data)
        path = max(segments(box), key=used_octets)
        size = used_octets(path)
        if n % 3 == 0:
            what = f"cut {path} at {size} minus {n * 37 + 1}"
            os.truncate(path, size - (n * 37 + 1))
        elif n % 3 == 1:
            at = rng.randrange(64, size)
            what = f"bit flipped at {at} of {size}"
            with open(path, "r+b") as f:
                f.seek(at)
                byte = f.read(1)[0]
                f.seek(at)
                f.write(bytes([byte ^ (1 << rng.randrange(8))]))
        else:
            at = rng.randrange(0, max(1, size - 4096))
            what = f"4 KiB of zeros at {at} of {size}"
            with open(path, "r+b") as f:
                f.seek(at)
                f.write(b"\0" * min(4096, size - at))
        results.append((verdict(box, what), what))
        box.processes["scheduler"].kill()
    print(results)
    assert any(r == "refused" for r, _ in results), "no damage was ever noticed"


def test_missing_segment(filled):
    """A hole in the log: refused."""
    path = max(segments(filled), key=used_octets)
    os.unlink(path)
    assert verdict(filled, "segment removed") == "refused"


def test_two_schedulers_on_one_data_directory(box):
    """The second is refused with a message that names the holder; the first goes on."""
    box.start()
    import subprocess

    from harness.box import sanitizer_env
    r = subprocess.run(box.processes["scheduler"].argv, capture_output=True, text=True, timeout=60,
                       env=sanitizer_env(box.dir, "second"), cwd=box.dir)
    assert r.returncode not in (0, 99) and r.returncode > 0, r.stderr[-2000:]
    assert str(box.processes["scheduler"].pid) in r.stderr or "lock" in r.stderr.lower(), r.stderr[-2000:]
    box.submit("still@dest.example")
    box.sink.one("still@dest.example")
