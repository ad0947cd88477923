"""`python -m tests.image`: builds the images, runs the CPU image's roles on a real broker."""

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path

from tests.image.building import build, image_name, require_base, run_command
from tests.image.container import Failed
from tests.image.packages import LOCKS, check_packages
from tests.image.run import run

FOLDER = Path("var") / "image"
PROGRAMS = ("buildah", "podman", "debootstrap", "java", "mvn")


def main() -> int:
    """Print what was measured; 0 if all is well, 1 if not, 2 where a program is missing."""
    parser = argparse.ArgumentParser(prog="python -m tests.image", description=__doc__)
    parser.add_argument("--targets", default="cpu,gpu", help="targets to build; cpu is run as well")
    parser.add_argument("--keep", action="store_true", help="keep images, logs and volumes")
    asked = parser.parse_args()
    targets = asked.targets.split(",")
    if unknown := set(targets) - set(LOCKS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(LOCKS)}")
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing or os.geteuid():
        sys.stderr.write(f"needs root and {', '.join(missing) or 'nothing more'}\n")
        return 2
    try:
        for target in targets:
            _target(target, keep=asked.keep)
    except Failed as failure:
        sys.stderr.write(f"{failure}\nlogs are kept in {FOLDER}\n")
        return 1
    if not asked.keep:
        shutil.rmtree(FOLDER, ignore_errors=True)
    return 0


def _target(target: str, *, keep: bool) -> None:
    require_base()
    begun = time.monotonic()
    size = build(target)
    found: dict[str, object] = {
        "target": target,
        "build_s": round(time.monotonic() - begun),
        "gib": round(size / 2**30, 2),
    }
    try:
        found["packages"] = check_packages(target)
        if target == "cpu":
            found |= run(FOLDER, Path("var") / "kafka" / "libs")
    finally:
        if not keep:  # with the stages between, which are as large again
            run_command("buildah", "rmi", "--force", image_name(target))
            run_command("buildah", "rmi", "--prune", "--force")
    sys.stdout.write(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
