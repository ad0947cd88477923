"""Runs the few tests that failed in the last run once more, alone.

`python -m tests.failed_again`, after `make test` in continuous integration. The exit status is 0 if
each of them passes without other tests beside it. Such a test, or Segue, has a fault that must be
fixed, so the test is printed with the word FLAKY. But it does not hold up a change that did not
cause it. More than MOST failures are not run again.
"""

import json
import sys
from pathlib import Path

import pytest

LAST_FAILED = Path(".pytest_cache/v/cache/lastfailed")
MOST = 3


def failed(record: Path) -> list[str]:
    """Return the tests that failed in the last run, from pytest's record of it."""
    return sorted(json.loads(record.read_text())) if record.is_file() else []


def main() -> int:
    """Run them; returns the exit status."""
    tests = failed(LAST_FAILED)
    if not 1 <= len(tests) <= MOST:
        sys.stdout.write(f"{len(tests)} tests failed; 1 to {MOST} are run again\n")
        return 1
    sys.stdout.write(f"run again, alone: {', '.join(tests)}\n")
    sys.stdout.flush()
    status = int(pytest.main(["-n", "0", *tests]))
    if status == 0:
        for test in tests:
            sys.stdout.write(f"FLAKY {test}: failed beside other tests, passed alone\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
