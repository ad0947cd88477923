"""Pages name commands, options, settings and metrics that exist."""

import re
import shlex
from collections.abc import Iterator

import pytest
import typer

from segue.lazy_commands import COMMANDS, load_command
from tests.documentation import shell_blocks
from tests.test_documentation import PAGES, ROOT

#: The changelog and the decisions keep the names of their time.
CURRENT = [page for page in PAGES if page.parent.name != "adr" and page.name != "CHANGELOG.md"]
#: A field of a bundle's manifest, which ends like a setting.
OF_MANIFEST = {"popularity.half_lives_days"}
#: Where a shell ends the words of a command.
OPERATORS = ("|", ">", "2>", "<", "&", "&&", "||", ";")
#: Arms of an evaluation, which begin with the product's name too.
ARMS = re.compile(r"segue (continual|daily|hourly|weekly|with|without)\b")


def commands_of(page) -> Iterator[str]:
    """Yield the command lines that begin with `segue`, of shell blocks and in backquotes."""
    text = page.read_text()
    blocks = "\n".join(block.text for block in shell_blocks(page)).replace("\\\n", " ")
    for line in blocks.splitlines():
        if found := re.search(r"(?:^|\.venv/bin/|\$\()(segue [^)]*)", line.strip()):
            yield found[1]
    outside = re.sub(r"(?s)```.*?```", "", text)
    for quoted in re.findall(r"`(segue [^`]*)`", outside):
        if not ARMS.match(quoted):
            yield " ".join(quoted.split())


def parse(line: str) -> None:
    """Raise if the command, or one of its options, does not exist."""
    words = shlex.split(line, comments=True)[1:]
    words = words[: next((n for n, word in enumerate(words) if word in OPERATORS), len(words))]
    if words[0] in ("-v", "--verbose"):  # of all commands
        words.pop(0)
    command = load_command(words.pop(0))
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    assert not (words and hasattr(command, "commands") and re.fullmatch("[a-z]+", words[0])), line
    context = typer.Context(command)
    command.make_parser(context).parse_args(words)


@pytest.mark.parametrize("page", CURRENT, ids=lambda page: f"{page.parent.name}/{page.name}")
def test_commands_and_options_exist(page):
    for line in commands_of(page):
        # An option that is only named, without a value.
        ends_in_option = line.split()[-1].startswith("--")
        try:
            parse(line)
        except Exception as error:
            if ends_in_option and "requires an argument" in str(error):
                continue
            pytest.fail(f"{line}: {error!r}")


@pytest.mark.parametrize(
    "line", ["segue wrker", "segue worker --nmae x", "segue models lst", "segue status --jsn"]
)
def test_a_wrong_command_or_option_is_found(line):
    with pytest.raises(Exception, match=r"wrker|nmae|lst|jsn"):
        parse(line)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_texts_name_commands_that_exist(name):
    """The examples of every help text parse, with all their options."""
    command = load_command(name)
    below = list(getattr(command, "commands", {}).values())
    for one in [command, *below]:
        # An epilog is one example; a docstring ends with paragraphs of examples.
        parts = [one.epilog or ""]
        if "\nExample" in (one.help or ""):
            parts += re.split(r"\nExamples?:", one.help)[-1].split("\n\n")
        for part in parts:
            line = " ".join(re.sub(r"^\s*Examples?:", "", part).split())
            for example in re.split(r",\s+(?=segue )", line):
                if example.startswith("segue "):
                    parse(example)


def settings_named() -> set[str]:
    """Return the path of every setting and of every group, as the page of settings lists them."""
    names, group = set(), ""
    for line in (ROOT / "docs" / "settings.md").read_text().splitlines():
        if line.startswith("## "):
            group = line[3:].removesuffix(" (a list)")
            names.add(group)
        elif found := re.match(r"\| `(\w+)` \|", line):
            names.add(found[1] if group == "The system" else f"{group}.{found[1]}")
    return names


@pytest.mark.parametrize("page", CURRENT, ids=lambda page: f"{page.parent.name}/{page.name}")
def test_settings_have_their_whole_name(page):
    known = settings_named()
    groups = {name.split(".")[0] for name in known}
    # `index.storage` would be refused: the setting is `dynamic.index.storage`.
    endings = {name.split(".", 1)[1] for name in known if name.count(".") > 1}
    for name in re.findall(r"`(?:--set )?([a-z]+(?:\.[a-z_]+)+)(?:`| ?=)", page.read_text()):
        assert name not in endings - known - OF_MANIFEST, f"{page.name}: {name}"
        if name.split(".")[0] in groups - {"events", "static", "worker", "sources"}:
            assert name in known, f"{page.name}: {name}"


@pytest.mark.parametrize("page", CURRENT, ids=lambda page: f"{page.parent.name}/{page.name}")
def test_metrics_exist(page):
    known = re.findall(r"segue_\w+", (ROOT / "docs" / "metrics.md").read_text())
    for name in re.findall(r"`(segue_\w+)`", page.read_text()):
        assert name == "segue_client" or any(metric.startswith(name) for metric in known), name
