"""agents/PATH.md names the files between an event and its list, in the order in which they run."""

import asyncio
import re
import sys
import threading
from pathlib import Path
from types import FrameType

import pytest

from dynamic_layer import Recommender
from dynamic_layer.head.list_scores import ListScorer
from dynamic_layer.lists.list_maker import ListMaker
from state.histories import Histories
from tests.agents.test_skew import SETTINGS
from tests.agents.worlds import TOPICS, BenchOutputs, bench
from tests.dynamic_layer.headed import NOW_MS, headed, live_of

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| `([\w/]+\.py)` \| (.+?) \| .+ \|$", re.MULTILINE)
Call = tuple[str, str]
#: Compiled code: Python 3.12 and later tell a profiler nothing of its calls.
COMPILED = {("state/kernel.py", "apply_events")}


def on_the_page() -> list[Call]:
    """The files of the page and the functions to start with, in its order."""
    rows = ROW.findall((ROOT / "agents" / "PATH.md").read_text())
    return [(path, name) for path, names in rows for name in re.findall(r"`([\w.]+)`", names)]


def file_of(frame: FrameType) -> str | None:
    """A frame's file from the root of the project; None for libraries and tests."""
    path = Path(frame.f_code.co_filename)
    if not path.is_relative_to(ROOT):
        return None
    relative = path.relative_to(ROOT)
    return None if relative.parts[0] in {".venv", "tests"} else relative.as_posix()


def stack() -> set[str]:
    """The project's files that are waiting for the caller's function to return."""
    frame, found = sys._getframe(1).f_back, set()
    while frame is not None:
        found.add(file_of(frame))
        frame = frame.f_back
    return {file for file in found if file is not None}


@pytest.fixture(scope="module")
def followed(tmp_path_factory) -> tuple[list[Call], set[str]]:
    """First calls of one event's way, in order, and the files on the stack at its milestones."""
    with pytest.MonkeyPatch.context() as patched:
        return follow(tmp_path_factory.mktemp("path"), patched)


def follow(folder: Path, patched: pytest.MonkeyPatch) -> tuple[list[Call], set[str]]:
    calls: dict[Call, None] = {}
    stacks: set[str] = set()
    on_its_way = False
    bundle, live, items = headed().bundle, live_of(headed().examples), headed().static

    def profile(frame: FrameType, event: str, _: object) -> None:
        if on_its_way and event == "call" and (file := file_of(frame)) is not None:
            calls.setdefault((file, frame.f_code.co_qualname))

    def milestone(owner: type, name: str) -> None:
        real = getattr(owner, name)

        def noted(*args, **options):
            if on_its_way:
                stacks.update(stack())
            return real(*args, **options)

        patched.setattr(owner, name, noted)

    async def event_to_list() -> int:
        nonlocal on_its_way
        with bench(folder, settings=SETTINGS) as b:
            b.clock.ms = NOW_MS + 120_000
            b.worker.models.static_generation = 1
            await b.worker.assigned(b.keyed)
            b.worker.models.recommender = Recommender(bundle, live)
            b.listen("ann", items.item_ids[3], item_type=items.item_types[3], kind="stream")
            on_its_way = True
            await b.drain()
            await b.worker.tick()
            on_its_way = False
            return len(b.records(TOPICS.recommendations))

    milestone(Histories, "slots")
    milestone(ListMaker, "propose")
    milestone(ListScorer, "scores")
    milestone(BenchOutputs, "send_many")
    before = (sys.getprofile(), threading.getprofile())
    # The thread that makes the lists begins after this.
    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        assert asyncio.run(event_to_list()) > 0
    finally:
        sys.setprofile(before[0])
        threading.setprofile(before[1])
    return list(calls), stacks


def test_the_files_of_the_page_begin_in_its_order(followed):
    calls, _ = followed
    page = [call for call in on_the_page() if call not in COMPILED]
    assert set(on_the_page()) > COMPILED
    assert set(page) <= set(calls)
    first = dict(reversed(page))
    places = [calls.index(call) for call in first.items()]
    assert [file for _, file in sorted(zip(places, first, strict=True))] == list(
        dict.fromkeys(file for file, _ in page)
    )


def test_no_file_of_the_way_is_missing(followed):
    _, stacks = followed
    page = {file for file, _ in on_the_page()}
    assert stacks - page == set()
    assert len(page) <= 18
