"""The API answers a user as the workers do: from the channel of the user's arm."""

import asyncio
from dataclasses import replace

from agents.bundles.announcing import announce
from agents.bundles.channels import Channels
from agents.bundles.names import bundle_name
from agents.experiments.arms import ArmSettings, ExperimentSettings
from agents.outputs import EmbeddedOutputs
from console.serving import Serving, Wanted
from tests.console.worlds import NOW, WordVectors, make_bundles, make_world, small_items
from tests.dynamic_layer.worlds import make_user

ARMS = ExperimentSettings(
    arms=(
        ArmSettings(name="old", share=0.5),
        ArmSettings(name="new", share=0.5, channel="next"),
    )
)


async def test_users_of_two_arms_who_ask_together_have_lists_of_two_bundles(tmp_path):
    items = small_items()
    world = make_world(tmp_path, items, make_bundles(items))
    topics, store = world.settings.topics, world.settings.store()
    channels = Channels(store, tmp_path / "b", WordVectors, lambda: NOW, experiments=ARMS)
    serving = Serving(channels.default, lambda: NOW, batch=8, waiting=99, channels=channels)
    for bundle, channel in zip(world.bundles, ("default", "next"), strict=True):
        await announce(
            bundle, bundle_name(bundle.generation, channel), {}, store=store, keep=9, now_ms=NOW,
            scratch=tmp_path / "made", outputs=EmbeddedOutputs(world.log), topics=topics,
            channel=channel,
        )  # fmt: skip
    await channels.announced(world.log.read(topics.models, 0, 0))
    world.log.close()
    due = {"old": 1, "new": 2}
    known = [replace(make_user(items, [n], now_ms=NOW), user_id=f"u{n}") for n in range(12)]
    found = await asyncio.gather(*(serving.page(user, Wanted(k=5)) for user in known))
    arms = [channels.arms.of(user.user_id) for user in known]
    assert set(arms) == {"old", "new"}
    assert [page.generation for page in found] == [due[arm] for arm in arms]
    assert all(page.items for page in found)
    nobody = replace(known[0], user_id="")
    assert (await serving.page(nobody, Wanted(k=5))).generation == 1, "a session is in no arm"
