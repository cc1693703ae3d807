"""Fixtures: `box` is a Postrider of the test's own (start it with box.start(config=...)); `shared` is one for all tests of a
file, with the file's CONFIG."""
import os
import signal
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from harness.box import BIN, Box, program  # noqa: E402

# Files that take longest start first, so that the workers end together.
LONG_FIRST = ["test_kill", "test_big", "test_delivery_limits", "test_delivery_broken", "test_corrupt", "test_dsn"]


@pytest.fixture(scope="session", autouse=True)
def programs(request):
    """Everything but the tests of the rig needs them."""
    names = {i.fspath.purebasename for i in request.session.items}
    if names != {"test_harness"} and not os.path.exists(program("postrider-ingress")):
        pytest.exit(f"no programs in {BIN}: build them, or set POSTRIDER_BIN", returncode=3)


def pytest_collection_modifyitems(config, items):
    def weight(item):
        name = item.fspath.purebasename
        return (LONG_FIRST.index(name) if name in LONG_FIRST else len(LONG_FIRST), name)

    items.sort(key=weight)
    if not os.environ.get("POSTRIDER_SOAK"):
        items[:] = [i for i in items if not i.get_closest_marker("soak")]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for b in Box.live:
            b.failed = True
            report.sections.append(("postrider", b.report()))


class DeadlineExceeded(BaseException):
    """Not an Exception: no retry loop of a test may swallow it."""


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item, nextitem):
    """Every test ends in time, its fixtures included."""
    marker = item.get_closest_marker("deadline")
    seconds = marker.args[0] if marker else 120

    def expired(number, frame):
        raise DeadlineExceeded(f"{item.nodeid} took longer than {seconds} s")

    old = signal.signal(signal.SIGALRM, expired)
    signal.alarm(seconds)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, old)


@pytest.fixture
def box(request):
    b = Box(request.node.name)
    yield b
    b.close()


@pytest.fixture(scope="module")
def shared(request):
    b = Box(request.module.__name__, getattr(request.module, "CONFIG", None))
    try:
        b.start()
    except BaseException:
        for p in b.processes.values():
            p.kill()
        raise
    yield b
    b.close()


@pytest.fixture
def session(shared):
    """A session with EHLO done."""
    with shared.smtp() as c:
        yield c


@pytest.fixture
def fresh(request):
    """A recipient no other test uses."""
    name = "".join(c if c.isalnum() else "-" for c in request.node.name.lower()).strip("-")
    return f"{name[:50]}@dest.example"


@pytest.fixture
def mx(request):
    """mx(box, ...) makes a sink at the MX port of box that lives as long as the test, at an address of its own."""
    made = []

    def make(box, host=None, **kw):
        made.append(box.new_sink(host=host or box.host(), **kw))
        return made[-1]

    yield make
    for s in made:
        s.close()


@pytest.fixture
def domain(request):
    """A domain no other test uses."""
    name = "".join(c if c.isalnum() else "-" for c in request.node.name.lower()).strip("-")
    return f"{name[:50].strip('-')}.example"
