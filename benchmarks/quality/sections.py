"""What is measured: data sets, how they are asked, and which models answer."""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["SECTIONS", "SIMULATED", "Run", "Section", "files_of"]

_FOLDERS = {"LFM": "lfm1m", "AFK": "amazon-fk", "ML1M": "ml-1m"}
_WORLD = "--items 2000 --users 5000 --events 250000 --end-ms 1748736000000 --seed 1"
_NEWS = (
    "--world news --days 8 --items 2400 --users 1200 --events 80000 --end-ms 1748736000000 --seed 1"
)
_NEWS5 = (
    "--world news --days 5 --items 1500 --users 700 --events 35000 --end-ms 1748736000000 --seed 1"
)
_SMALL = "--items 300 --users 400 --events 10000 --end-ms 1790000000000 --seed 13"
_SMALL100 = "--items 1500 --users 3000 --events 100000 --end-ms 1790000000000 --seed 1"
SIMULATED = {
    name: tuple(
        f"segue simulate {kind} --to {name}/{file}.parquet {world}"
        for kind, file in (("history", "events"), ("catalogue", "items"))
    )
    for name, world in (
        ("SIM", _WORLD),
        ("NEWS", _NEWS),
        ("NEWS5", _NEWS5),
        ("SMALL", _SMALL),
        ("SMALL100", _SMALL100),
    )
}
"""Commands that make the data sets: interests drift in SIM, SMALL and SMALL100, items last hours
in NEWS and NEWS5."""
_OF_NEWS = (
    "--set trainer.min_examples=1000"
    " --set dynamic.replay.holdout_size=2048 --set dynamic.popularity.fit_examples=1024"
    " --set dynamic.ranking.demand_half_lives_days=[0.05,0.2,1.0,4.0]"
    " --set dynamic.popularity.half_lives_days=[0.05,0.2,1.0,4.0]"
    " --set dynamic.popularity.bucket_hours=1"
)
_BASELINES = (
    "popularity,popularity_recent,popularity_decayed,popularity_mix,text_knn,item_cf,"
    "item_cf_decayed,ials"
)


@dataclass(frozen=True, kw_only=True)
class Run:
    """Models that are fitted in one process: `segue evaluate`'s --models and --seeds.

    more: further options of this run alone.
    """

    name: str
    models: str
    seeds: int = 1
    more: str = ""


@dataclass(frozen=True, kw_only=True)
class Section:
    """One way of asking one data set; its runs' rows stand in one table.

    name:    of the section, and of its notes.
    title:   as the page has it.
    data:    LFM, AFK or ML1M, or one that `SIMULATED` makes.
    options: of `segue evaluate`, the same for all runs.
    page:    `quality`, or `freshness` for live lists. served: figures of what workers serve live.
    cold, tiers: whether tables of cold items and of popularity tiers are shown.
    arms:    whether it compares arms of the product (--served) by tier and user.
    """

    name: str
    title: str
    data: str
    options: str
    runs: tuple[Run, ...]
    page: str = "quality"
    served: bool = False
    cold: bool = False
    tiers: bool = False
    arms: bool = False


def files_of(data: Path, name: str) -> tuple[Path, Path]:
    """Return the events and the items of a set, in the folder of all sets."""
    folder = data / _FOLDERS.get(name, name)
    return folder / "events.parquet", folder / "items.parquet"


def _graph(name: str, data: str, cut: str, without: str = "hgnn,hgnn:scalars") -> Section:
    """Return what shows the worth of the HGNN in served lists; cut: of the data.

    without: arms. Where items come after the split there are no scalars of them.
    """
    return Section(
        name=f"{name}-graph",
        title=f"What the HGNN is worth in served lists: {name}",
        data=data,
        options=f"{cut} --served --without {without} --set static.train.epochs=3",
        runs=(Run(name=f"{name}-graph", models="popularity"),),
        arms=True,
    )


SECTIONS = (
    Section(
        name="lfm1m",
        title="lfm1m, split 2014-04-04, the next 30 days",
        data="LFM",
        options="--until 2014-05-04 --test-days 30",
        runs=(
            Run(name="lfm1m-segue", models="segue", seeds=3),
            Run(name="lfm1m-baselines", models=f"{_BASELINES},ease", seeds=3),
            Run(name="lfm1m-others", models="lightgcn,two_tower,two_tower_hgnn"),
        ),
        tiers=True,
    ),
    Section(
        name="amazon-fk",
        title="amazon-fk, split 2014-04-25, the next 90 days",
        data="AFK",
        options="--until 2014-07-24 --test-days 90 --users 4000",
        runs=(
            Run(name="amazon-fk-segue", models="segue", seeds=3),
            Run(name="amazon-fk-baselines", models=_BASELINES, seeds=3),
            Run(name="amazon-fk-others", models="ease,lightgcn,two_tower,two_tower_hgnn"),
        ),
        cold=True,
    ),
    Section(
        name="abxi",
        title="amazon-fk in ABXI's protocol: leave-one-out, 999 negatives of the same type",
        data="AFK",
        options=("--where 'src % 2 = 1' --order abxi_pos --protocol sampled --candidates trained"),
        runs=(Run(name="abxi-baselines", models="popularity,item_cf"),),
    ),
    Section(
        name="ml-1m",
        title="ML-1M, leave-one-out, all movies ranked",
        data="ML1M",
        options="--protocol loo --order user_seq --min-events 5 --candidates trained",
        runs=(
            Run(name="ml-1m-sequence", models="sequence_tower"),
            Run(name="ml-1m-baselines", models="popularity,item_cf,ease"),
            Run(name="ml-1m-sasrec", models="sasrec,sasrec_bce"),
            Run(name="ml-1m-gsasrec", models="gsasrec"),
        ),
    ),
    _graph("lfm1m", "LFM", "--until 2014-05-04 --test-days 30 --train-days 120"),
    _graph("amazon-fk", "AFK", "--until 2014-07-24 --test-days 90 --train-days 365 --users 4000"),
    _graph("simulated", "SIM", "--test-days 14", without="hgnn"),
    Section(
        name="lfm1m-served",
        title="lfm1m, served lists, the next event, 2014-04-14 to 2014-05-03",
        data="LFM",
        options="--served --live --until 2014-05-04 --test-days 20 --set static.train.epochs=1",
        runs=(Run(name="lfm1m-served", models="popularity", more="--asked 2000 --learn daily"),),
        page="freshness",
        served=True,
    ),
    Section(
        name="amazon-fk-served",
        title="amazon-fk, served lists at the beginning of the day, 2014-04-25 to 2014-07-23",
        data="AFK",
        options=(
            "--served --live --until 2014-07-24 --test-days 90 --set static.train.epochs=1"
            " --every 86400"
        ),
        runs=(Run(name="amazon-fk-served", models="popularity", more="--asked 2000"),),
        page="freshness",
        served=True,
    ),
    Section(
        name="small-served",
        title="A small history: 10,000 simulated events, served lists, the next event of 14 days",
        data="SMALL",
        options="--served --live --test-days 14",
        runs=(
            Run(
                name="small-served",
                models="popularity_decayed,popularity_mix,item_cf,item_cf_decayed",
                more="--asked 600",
            ),
        ),
        page="freshness",
        served=True,
    ),
    Section(
        name="small100-served",
        title="100,000 simulated events, served lists, the next event of 14 days",
        data="SMALL100",
        options="--served --live --test-days 14 --set static.train.epochs=3",
        runs=(
            Run(
                name="small100-served",
                models="popularity_decayed,popularity_mix,item_cf,item_cf_decayed",
                more="--asked 500",
            ),
        ),
        page="freshness",
        served=True,
    ),
    Section(
        name="news-served",
        title="Articles (`--world news`), served lists, the next event of the last 2 of 8 days",
        data="NEWS",
        options=(
            "--served --live --test-days 2 --every 120 --learn daily,continual"
            f" --set static.train.epochs=4 {_OF_NEWS}"
        ),
        runs=(Run(name="news-served", models="popularity", more="--asked 2000"),),
        page="freshness",
        served=True,
    ),
    Section(
        name="news-rows",
        title="Changed rows between bundles: articles, served lists of the last of 5 days",
        data="NEWS5",
        options=f"--served --live --test-days 1 --every 120 --set static.train.epochs=2 {_OF_NEWS}",
        runs=(
            Run(
                name="news-rows",
                models="popularity",
                more="--learn continual-rare-rows,continual-rare,continual,continual-rows"
                " --asked 1000",
            ),
            Run(
                name="news-rows-2",
                models="popularity",
                more="--learn continual-rare-rows,continual-rare,continual --asked 1000 --seed 2",
            ),
        ),
        page="freshness",
        served=True,
    ),
)
