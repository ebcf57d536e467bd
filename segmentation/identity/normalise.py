"""What a raw identifier value means: one normal form per type, or the reason why it is none.

Belongs here: the rules for one value, in plain Python; they define what is right. Does not belong here:
doing it for millions (`values.py`, whose fast paths must agree with these), or whether a value is a
placeholder or shared (`guards.py`).
"""

import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import idna
import phonenumbers

from segmentation.identity.calling_codes import is_plain_number

EMAIL_MAX_LENGTH = 254
EMAIL_LOCAL_MAX_LENGTH = 64

#: Code points that nobody sees: controls, formats, surrogates, private and unassigned ones.
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})


class _Visible(dict[int, str | None]):
    """What is seen of a code point, found out once: a space for any space, itself, or nothing."""

    def __missing__(self, code: int) -> str | None:
        character = chr(code)
        seen = character if unicodedata.category(character) not in _INVISIBLE else None
        self[code] = seen
        return seen


_VISIBLE = _Visible({ord(space): " " for space in "\t\n\v\f\r"})


class Normalised(NamedTuple):
    """A value's normal form, or why it has none; exactly one of the two is set."""

    id_value: str | None
    problem: str | None


def clean_text(raw: str) -> str:
    """Return ``raw`` without what nobody sees, in Unicode form NFKC, without space around it.

    Removing a character can let its neighbours compose, and composing can bring forth what is to be
    removed, so the steps repeat until nothing changes: cleaning twice equals cleaning once.
    """
    text = raw
    while (cleaner := _clean_once(text)) != text:
        text = cleaner
    return text


def _clean_once(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text.strip()
    return unicodedata.normalize("NFKC", text.translate(_VISIBLE)).strip()


def clean_lower_text(raw: str) -> str:
    """Return ``clean_text(raw)`` in lower case; doing it twice equals doing it once."""
    text = clean_text(raw)
    while (lower := clean_text(text.lower())) != text:
        text = lower
    return text


def normalise_text(raw: str, _region: str = "") -> Normalised:
    """Normalise an id that some system made: case and everything visible stay."""
    text = clean_text(raw)
    return Normalised(text, None) if text else Normalised(None, "empty")


def normalise_email(raw: str, _region: str = "") -> Normalised:
    """Normalise an e-mail address: lower case, domain in ASCII (IDNA 2008 with UTS 46 mapping).

    Letters of other alphabets that look like Latin ones stay what they are: an address is never turned
    into somebody else's.
    """
    text = clean_lower_text(raw)
    if not text:
        return Normalised(None, "empty")
    local, at, domain = text.rpartition("@")
    if not at or not local or "@" in local or any(c.isspace() or c in "<>,;" for c in local):
        return Normalised(None, "not an e-mail address")
    if len(local) > EMAIL_LOCAL_MAX_LENGTH:
        return Normalised(None, "e-mail address too long")
    ascii_domain = _ascii_domain(domain)
    if ascii_domain is None:
        return Normalised(None, "e-mail domain not valid")
    value = f"{local}@{ascii_domain}"
    return Normalised(value, None) if len(value) <= EMAIL_MAX_LENGTH else Normalised(None, "e-mail address too long")


@lru_cache(maxsize=1 << 16)
def _ascii_domain(domain: str) -> str | None:
    try:
        encoded = idna.encode(domain, uts46=True).decode("ascii").lower().removesuffix(".")
    except (idna.IDNAError, UnicodeError):
        return None
    return encoded if "." in encoded else None


def normalise_phone(raw: str, region: str = "") -> Normalised:
    """Normalise a phone number to E.164.

    Args:
        raw: The number as people write it.
        region: Country (ISO 3166-1, two letters) of a number that names none.
    """
    text = clean_text(raw)
    if not text:
        return Normalised(None, "empty")
    value = _e164(text, region or None)
    # Taking a trunk prefix away can lay bare another one; what is kept is what parses to itself.
    while value is not None and not is_plain_number(value) and (again := _e164(value, None)) != value:
        value = again
    return Normalised(value, None) if value else Normalised(None, "not a phone number")


def _e164(text: str, region: str | None) -> str | None:
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    # An extension names a desk behind the line, not another line.
    number.extension = None
    if not phonenumbers.is_possible_number(number):
        return None
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


#: From a raw value and the country it is read in to its normal form.
Normaliser = Callable[[str, str], Normalised]

#: The rule of each type of identifier.
NORMALISERS: dict[str, Normaliser] = {
    "source_customer_id": normalise_text,
    "user_id": normalise_text,
    "email": normalise_email,
    "phone": normalise_phone,
    "device_id": normalise_text,
    "anonymous_id": normalise_text,
}
