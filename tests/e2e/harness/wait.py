"""Waiting on conditions with deadlines: the only place that sleeps."""
import time


class Deadline(AssertionError):
    pass


def wait_until(condition, timeout=20.0, what=None, poll=0.02):
    """Returns the first true value of condition(). A condition that raises AssertionError or OSError is not true yet."""
    end = time.monotonic() + timeout
    last = None
    while True:
        try:
            value = condition()
            if value:
                return value
            last = value
        except (AssertionError, OSError) as e:
            last = e
        if time.monotonic() >= end:
            text = what() if callable(what) else what or getattr(condition, "__name__", "condition")
            raise Deadline(f"not within {timeout} s: {text} (last: {last!r})")
        time.sleep(poll)


def stays(condition, seconds, what="condition"):
    """Asserts that condition() holds for that long; for things that must not happen."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert condition(), f"did not stay true for {seconds} s: {what}"
        time.sleep(0.02)
