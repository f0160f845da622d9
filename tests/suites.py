"""suites.py BUILD [LOG...]: every test is in exactly one of the suites of cost (tests/meson.build).

With logs of `meson test` (JSON, one object a line) also: every test of BUILD is in one of them, so
that no check of the tests leaves one out.
"""

import json
import sys

COSTS = {"quick", "medium", "slow"}


def main():
    build, logs = sys.argv[1], sys.argv[2:]
    with open(build + "/meson-info/intro-tests.json", encoding="utf-8") as f:
        tests = json.load(f)
    assert tests, "no tests"
    bad = []
    for test in tests:
        suites = {suite.split(":")[-1] for suite in test["suite"]}
        if len(suites & COSTS) != 1:
            bad.append("%s: is in %s and not in exactly one of %s"
                       % (test["name"], sorted(suites), sorted(COSTS)))
    if logs:
        ran = set()
        for log in logs:
            with open(log, encoding="utf-8") as f:
                ran |= {json.loads(line)["name"].split(" / ")[-1] for line in f}
        bad += ["%s: ran nowhere" % t["name"] for t in tests if t["name"] not in ran]
    print(*bad, "%d tests looked at" % len(tests), sep="\n")
    return 1 if bad else 0


sys.exit(main())
