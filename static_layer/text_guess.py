"""Guesses the language of a text from its script, its letters and its function words."""

import re
from collections import Counter

ENGLISH = "English"
UNKNOWN = "unknown language"
HAN = "Chinese or Japanese"

ROMANCE = "Romance language"

#: First and last letter of a script, and its name. With kana a text is Japanese.
_SCRIPTS = (
    ("Ͱ", "Ͽ", "Greek"),
    ("Ѐ", "ԯ", "Cyrillic"),
    ("\u0590", "\u05ff", "Hebrew"),
    ("\u0600", "\u06ff", "Arabic"),
    ("\u0900", "\u097f", "Hindi"),
    ("\u0e00", "\u0e7f", "Thai"),
    ("\u3041", "\u30ff", "Japanese"),
    ("\u3400", "\u9fff", HAN),
    ("\uac00", "\ud7af", "Korean"),
)
_LAST_LATIN = "\u024f"
#: Letters that only one of these languages has.
_LETTERS = {
    "ß": "German", "ñ": "Spanish", "ã": "Portuguese", "õ": "Portuguese", "œ": "French",
    "ł": "Polish", "ą": "Polish", "ę": "Polish", "ż": "Polish", "ź": "Polish", "ś": "Polish",
    "ı": "Turkish", "ş": "Turkish", "ğ": "Turkish", "ě": "Czech", "ř": "Czech", "ů": "Czech",
    "ő": "Hungarian", "ű": "Hungarian", "ă": "Romanian", "ț": "Romanian", "å": "Swedish",
    "ø": "Danish",
}  # fmt: skip
#: Frequent words. Words that English has too, and `van`, are left out.
_WORDS = {
    ENGLISH: "the of and for with to in on is a an your from by at my you how what this that",
    "German": "der das und mit für von dem den ein eine einen ist nicht auf zum zur im wie bei aus "
              "oder als nach über ich wir sie ihr sich auch wird werden",
    "French": "les des du une et pour dans avec sur aux est pas qui par ce cette son ses vous nous "
              "comment plus ou de le la en un l d",
    "Spanish": "el los las del una y por con para como más su sus al lo cómo qué sobre desde "
               "de la en un",
    "Italian": "il di che per gli della delle dei del nel nella con sono più da come alla "
               "la le un l d",
    "Portuguese": "dos das uma com para não em na nos pelo pela são ao como mais do da de",
    "Dutch": "het een voor niet zijn naar bij wordt hoe je op en de",
    "Polish": "w na się z do nie jest dla oraz jak po od",
    "Swedish": "och att det för på är till en ett med som av",
    "Turkish": "ve bir için ile nasıl bu olarak",
}  # fmt: skip
_ROMANCE = {"French", "Spanish", "Italian", "Portuguese"}
_OF_WORD: dict[str, list[str]] = {}
for _language, _words in _WORDS.items():
    for _word in set(_words.split()):
        _OF_WORD.setdefault(_word, []).append(_language)


def guessed_language(text: str) -> str:
    """Return the name of a text's language.

    `UNKNOWN` for Latin letters without a word or a letter that tells, and for other scripts. `HAN`
    and `ROMANCE` where it may be several.

    >>> guessed_language("Brot backen für Anfänger"), guessed_language("週末の天気予報")
    ('German', 'Japanese')
    >>> guessed_language("Motörhead"), guessed_language("The Best of El Greco")
    ('unknown language', 'English')
    >>> guessed_language("Sortie de secours"), guessed_language("東京")
    ('Romance language', 'Chinese or Japanese')
    """
    counts = Counter(map(_script, filter(str.isalpha, text)))
    if not counts:
        return UNKNOWN
    if counts["Japanese"] and counts["Japanese"] + counts[HAN] >= counts["Latin"]:
        return "Japanese"
    (script, _), *_ = counts.most_common(1)
    if script != "Latin":
        return script
    lower = text.lower()
    hits = Counter(_LETTERS[letter] for letter in set(lower) if letter in _LETTERS)
    for word in set(re.findall(r"[^\W\d_]+", lower)):
        hits.update(_OF_WORD.get(word, ()))
    if not hits:
        return UNKNOWN
    best = [language for language in hits if hits[language] == max(hits.values())]
    # Foreign names stand in English sentences.
    if ENGLISH in best:
        return ENGLISH
    return ROMANCE if len(_ROMANCE.intersection(best)) > 1 else best[0]


def _script(letter: str) -> str:
    if letter <= _LAST_LATIN:
        return "Latin"
    return next((name for first, last, name in _SCRIPTS if first <= letter <= last), UNKNOWN)
