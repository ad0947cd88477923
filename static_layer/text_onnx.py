"""The text model in ONNX Runtime: on a CPU twice as fast as PyTorch, with the same vectors.

The graph is exported once from the model's weights and kept beside the cache of vectors, as
`<fingerprint>/model.onnx` and `tokenizer.json`. A process that finds it loads neither PyTorch's
model nor sentence-transformers; the packaged model is exported without sentence-transformers too.
"""

import contextlib
import logging
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from static_layer.text_bert import BertSentences
from static_layer.text_model import TextModelError
from static_layer.text_torch import TorchTexts

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

GRAPH, TOKENIZER = "model.onnx", "tokenizer.json"
_OPSET = 17
_CHECKED = (
    "a",
    "Rivers of northern Germany",
    "The history of bread: from the first ovens to the supermarket. " * 8,
)
_CHECKED_WITHIN = 2e-3  # rounding; another pooling or prompt differs by more than 0.01


class OnnxTexts:
    """Encodes texts with ONNX Runtime on the CPU, in batches of texts with like token counts."""

    def __init__(self, folder: Path, *, batch_size: int, max_tokens: int, threads: int) -> None:
        """folder: what `exported` made; threads: those that compute, which never spin."""
        # Imported here: processes whose texts are all known never need it.
        import onnxruntime  # noqa: PLC0415
        from tokenizers import Tokenizer  # noqa: PLC0415

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # A spinning thread takes a core from the worker's other threads between two batches.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            str(folder / GRAPH), options, providers=["CPUExecutionProvider"]
        )
        self.tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(max_tokens)
        self._batch_size = batch_size
        self.dimension = int(self._session.get_outputs()[0].shape[1])

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit vectors f32[n, dimension]."""
        return self.encode_tokens([one.ids for one in self.tokenizer.encode_batch_fast(texts)])

    def encode_tokens(self, texts: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Return unit vectors f32[n, dimension] of texts given as token ids, special ones too."""
        lengths = np.array([len(ids) for ids in texts], dtype=np.int64)
        order = np.argsort(lengths, kind="stable")
        result = np.empty((len(texts), self.dimension), dtype=np.float32)
        for start in range(0, len(order), self._batch_size):
            rows = order[start : start + self._batch_size]
            mask = np.arange(lengths[rows].max()) < lengths[rows, None]
            ids = np.zeros(mask.shape, dtype=np.int64)
            ids[mask] = np.concatenate([texts[row] for row in rows])
            inputs = {"input_ids": ids, "attention_mask": mask.astype(np.int64)}
            result[rows] = self._session.run(None, inputs)[0]
        return result


class _Tokenizer(Protocol):
    def save(self, path: str) -> None:
        """Write tokenizer.json."""


@dataclass(frozen=True, kw_only=True)
class Exportable:
    """What a graph is made of.

    module:    token ids i64[n, l] and mask i64[n, l] to unit vectors f32[n, d], on the CPU.
    tokenizer: of the model, a fast one.
    vectors:   what the model gives for texts, f32[n, d]; None compares the graph with nothing.
    """

    module: nn.Module
    tokenizer: _Tokenizer
    vectors: Callable[[Sequence[str]], NDArray[np.float32]] | None = None


def exported(folder: Path, load: Callable[[], Exportable], *, max_tokens: int, int8: bool) -> Path:
    """Return the folder with the exported model, making it if it is not there.

    It appears whole or not at all, also when two processes make it at once. int8: with the weights
    of the linear layers in 8 bits. Raises TextModelError for a model that does not export.
    """
    if (folder / GRAPH).is_file():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="making-") as name:
        made = Path(name) / folder.name
        made.mkdir()
        _export(load(), made, max_tokens=max_tokens)
        if int8:
            _quantise(made)
        # Another process may have put its own there: then that one is used.
        with contextlib.suppress(OSError):
            made.rename(folder)
    if not (folder / GRAPH).is_file():
        shutil.rmtree(folder, ignore_errors=True)
        raise TextModelError(f"the exported text model in {folder} is not whole: delete the folder")
    return folder


class _Sentence(nn.Module):
    """Token ids i64[n, l] and mask i64[n, l] to unit vectors f32[n, d]."""

    def __init__(self, model: "SentenceTransformer") -> None:
        super().__init__()
        self.model = model
        self.typed = "token_type_ids" in model.tokenizer.model_input_names

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        features = {"input_ids": input_ids, "attention_mask": attention_mask}
        if self.typed:
            features["token_type_ids"] = torch.zeros_like(input_ids)
        found = self.model(features)["sentence_embedding"]
        return functional.normalize(found, dim=1)


def exportable(model: "SentenceTransformer") -> Exportable:
    """Return what a graph is made of; raises TextModelError for a tokenizer in Python."""
    tokenizer = getattr(model.tokenizer, "backend_tokenizer", None)
    if tokenizer is None:
        raise TextModelError("the text model's tokenizer is written in Python: expected a fast one")
    texts = TorchTexts(model, batch_size=1)
    return Exportable(
        module=_Sentence(model.cpu().eval()), tokenizer=tokenizer, vectors=texts.encode
    )


def packaged(folder: Path) -> Exportable:
    """Return what the packaged model's graph is made of, without sentence-transformers.

    Its weights are pinned, and so are its vectors, by a test: nothing is compared here.
    """
    from tokenizers import Tokenizer  # noqa: PLC0415

    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    return Exportable(module=BertSentences.load(folder), tokenizer=tokenizer)


def _export(model: Exportable, folder: Path, *, max_tokens: int) -> None:
    """Write graph and tokenizer of a model, and compare their vectors with its own."""
    shape = {0: "texts", 1: "tokens"}
    # Traced on several texts of several tokens: a size of 1 would become a constant.
    example = (torch.ones(2, 7, dtype=torch.long), torch.ones(2, 7, dtype=torch.long))
    wanted = None if model.vectors is None else model.vectors(_CHECKED)
    try:
        with warnings.catch_warnings(), torch.no_grad(), _quiet():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                model.module, example, str(folder / GRAPH),
                input_names=["input_ids", "attention_mask"], output_names=["vectors"],
                dynamic_axes={"input_ids": shape, "attention_mask": shape, "vectors": {0: "texts"}},
                opset_version=_OPSET, dynamo=False,
            )  # fmt: skip
    except Exception as error:  # whatever a foreign model's code raises while it is traced
        raise TextModelError(f"the text model could not be exported to ONNX: {error}") from error
    model.tokenizer.save(str(folder / TOKENIZER))
    if wanted is None:
        return
    found = OnnxTexts(folder, batch_size=2, max_tokens=max_tokens, threads=1).encode(_CHECKED)
    far = float(np.abs(found - wanted).max())
    if far > _CHECKED_WITHIN:
        raise TextModelError(f"exported to ONNX, the text model gives other vectors (by {far:.3f})")


def _quantise(folder: Path) -> None:
    """Turn a graph's weights into 8 bits, one scale for each column.

    7 bits of the 8 are used: without VNNI, products of all 8 overflow their 16-bit sums. Measured
    on 1,024 titles: cosine to f32 .989, against .955 with one scale for each matrix and all bits.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic  # noqa: PLC0415

    whole = folder / "whole.onnx"
    (folder / GRAPH).rename(whole)
    with _quiet():
        quantize_dynamic(
            whole, folder / GRAPH, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True
        )
    whole.unlink()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what exporters say to developers out of the log."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
