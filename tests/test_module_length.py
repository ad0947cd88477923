"""No module of the product is longer than a reader reads in one piece."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
PRODUCT = ("streams", "state", "static_layer", "dynamic_layer", "agents", "console", "segue")
#: Lines of a module, at most.
MOST = 400


def test_no_module_of_the_product_is_longer_than_400_lines():
    modules = [file for folder in PRODUCT for file in (ROOT / folder).rglob("*.py")]
    lengths = {
        file.relative_to(ROOT).as_posix(): len(file.read_text().splitlines()) for file in modules
    }
    assert len(lengths) > 100
    assert not {name: length for name, length in lengths.items() if length > MOST}
