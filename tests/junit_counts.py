"""junit_counts.py FILE: prints 'passed failed', then the names of what failed, from a JUnit file (ctest or pytest)."""
import sys
import xml.etree.ElementTree as ET


def bad(case):
    return case.find("failure") is not None or case.find("error") is not None or case.get("status") == "fail"


def main():
    cases = list(ET.parse(sys.argv[1]).getroot().iter("testcase"))
    if not cases:
        sys.exit("no test in " + sys.argv[1])
    # A test that was skipped or could not run is not a pass.
    failed = [c.get("name") for c in cases if bad(c)]
    skipped = sum(1 for c in cases if c.find("skipped") is not None and not bad(c))
    print(len(cases) - len(failed) - skipped, len(failed))
    print(" ".join(failed))


main()
