"""Checks that the text model reads the languages of a catalogue: doctor, try, catalogue --check."""

import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

import polars as pl

from segue.doctor import Finding, fact
from segue.settings import Settings
from static_layer import TextEncoder, TextModelError, catalogue_texts
from static_layer.job import misread_languages
from static_layer.text_languages import Misread

__all__ = ["language_finding", "without_misread_warning"]

CHECK = "text language"


def language_finding(settings: Settings, catalogue: pl.DataFrame) -> Finding:
    """Check that the text model reads the texts of a catalogue, as the static job does.

    catalogue: item_type and title; description, genres and language, if there are any.
    """
    texts, _ = catalogue_texts(catalogue)
    if not texts:
        return fact(CHECK, "not checked: the catalogue has no items yet")
    try:
        # Without a cache and a folder of models: the check writes nothing.
        with closing(TextEncoder(replace(settings.static.text, cache="", compiled=""))) as encoder:
            if encoder.pieces() is None:
                return fact(CHECK, "not checked: the tokenizer of the text model is not here")
            unread = misread_languages(encoder, texts, catalogue)
    except TextModelError as error:
        return Finding(
            check=CHECK, verdict="warn", found=f"not checked: {error}", fix="set static.text.model"
        )
    if unread is None:
        return fact(CHECK, f"the text model reads the {len(texts):,} texts of the catalogue")
    return Finding(check=CHECK, verdict="warn", found=unread.fault, fix=unread.fix)


@contextmanager
def without_misread_warning() -> Iterator[None]:
    """Keep the static job's warning of the same out of the log while the body runs."""
    log = logging.getLogger(misread_languages.__module__)

    def other(record: logging.LogRecord) -> bool:
        return not any(isinstance(value, Misread) for value in record.args or ())

    log.addFilter(other)
    try:
        yield
    finally:
        log.removeFilter(other)
