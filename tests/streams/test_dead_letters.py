import base64

from hypothesis import given
from hypothesis import strategies as st

from streams import DeadLetter, Reason, Record, dead_letter, decode, encode


def letter_of(value: bytes | None) -> DeadLetter:
    return dead_letter(Record("t", 1, 2, 3, None, value), Reason.MALFORMED, "why")


def test_a_letter_says_where_what_and_why():
    letter = letter_of(b'{"user_id":')
    assert (letter.source.topic, letter.source.partition, letter.source.offset) == ("t", 1, 2)
    assert (letter.reason, letter.detail) == (Reason.MALFORMED, "why")
    assert (letter.payload, letter.encoding, letter.payload_bytes) == ('{"user_id":', "utf-8", 11)
    assert letter.key == b"t/1/2"


def test_bytes_that_are_no_text_are_kept_as_base64():
    letter = letter_of(b"\xff\x00")
    assert letter.encoding == "base64"
    assert base64.b64decode(letter.payload) == b"\xff\x00"


def test_a_long_payload_is_cut_between_characters():
    for shift in range(4):
        value = b"a" * shift + "é🎧".encode() * 10_000
        letter = letter_of(value)
        assert letter.encoding == "utf-8"
        assert value.decode().startswith(letter.payload)
        assert 4092 < len(letter.payload.encode()) <= 4096
        assert letter.payload_bytes == len(value)


def test_a_split_character_at_the_very_end_is_not_text():
    assert letter_of("é".encode()[:1]).encoding == "base64"


def test_a_long_explanation_is_cut():
    assert (
        len(dead_letter(Record("t", 0, 0, 0, None, b""), Reason.BAD_ID, "x" * 9_999).detail) == 500
    )


@given(st.none() | st.binary())
def test_every_letter_survives_the_wire(value):
    letter = letter_of(value)
    assert decode(DeadLetter, encode(letter)) == letter
    back = letter.payload.encode()
    assert (base64.b64decode(back) if letter.encoding == "base64" else back) == (value or b"")
