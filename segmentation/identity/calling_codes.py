"""Which phone numbers are in normal form already, by country calling code.

Belongs here: conditions, taken from the metadata of `phonenumbers`, under which a number's digits are its
E.164 form and parsing it would change nothing. Does not belong here: numbers that need parsing
(`normalise.py`). A number that fails a condition is not wrong, it only has to be parsed.
"""

import re
from dataclasses import dataclass
from functools import cache

import phonenumbers
from phonenumbers import PhoneMetadata

_LONGEST_CODE = 3

#: International and national prefixes of the plan that most countries follow.
_INTERNATIONAL_PREFIX, _TRUNK_PREFIX = "00", "0"


@dataclass(frozen=True, slots=True)
class CallingCode:
    """When a number with this country calling code needs no parsing.

    Attributes:
        code: The code's digits.
        lengths: Lengths of national numbers that are possible.
        prefix_pattern: Pattern of what parsing may strip from a national number's start; ``None`` where
            it never strips.
    """

    code: str
    lengths: tuple[int, ...]
    prefix_pattern: str | None


@cache
def calling_code(digits: str) -> CallingCode | None:
    """Return the calling code that ``digits``, without the plus sign, begin with; ``None`` if none does.

    No calling code is the beginning of another one (ITU-T E.164), so at most one fits.
    """
    for length in range(1, _LONGEST_CODE + 1):
        code = digits[:length]
        region = phonenumbers.region_code_for_country_code(int(code))
        metadata = PhoneMetadata.metadata_for_region_or_calling_code(int(code), region)
        if metadata is not None and metadata.general_desc is not None:
            lengths = tuple(metadata.general_desc.possible_length)
            return CallingCode(code, lengths, metadata.national_prefix_for_parsing)
    return None


@cache
def _prefix_regex(code: CallingCode) -> re.Pattern[str]:
    return re.compile(f"0|{code.prefix_pattern}" if code.prefix_pattern else "0")


def is_plain_number(number: str) -> bool:
    """Say whether parsing an E.164 ``number`` is known to change nothing; it may also change nothing where not."""
    code = calling_code(number[1 : 1 + _LONGEST_CODE])
    if code is None:
        return False
    national = number[1 + len(code.code) :]
    return len(national) in code.lengths and _prefix_regex(code).match(national) is None


@dataclass(frozen=True, slots=True)
class NationalFormat:
    """How numbers that name no country are read in one country.

    Attributes:
        code: The country's calling code.
        special_pattern: Pattern of the beginnings of a number that mean more than the number's own digits:
            prefixes, and the calling code itself.
        dials_00: Whether ``00``, as in most countries, begins an international number and nothing else does.
        trunk_pattern: In countries of the usual plan, where also ``0`` begins a national number and goes away:
            pattern of numbers that are whole as they stand, so that their ``0`` would stay.
    """

    code: str
    special_pattern: str
    dials_00: bool
    trunk_pattern: str | None


@cache
def national_format(region: str) -> NationalFormat | None:
    """Return the format of a country (ISO 3166-1), ``None`` where it has no plan of its own."""
    metadata = PhoneMetadata.metadata_for_region(region, None)
    if metadata is None or metadata.general_desc is None or metadata.country_code is None:
        return None
    # Countries that share a calling code are judged by the metadata of its main one.
    if phonenumbers.region_code_for_country_code(metadata.country_code) != region:
        return None
    code, strips = str(metadata.country_code), metadata.national_prefix_for_parsing
    special = "|".join(f"(?:{pattern})" for pattern in (code, metadata.international_prefix, strips) if pattern)
    dials_00 = metadata.international_prefix == _INTERNATIONAL_PREFIX
    is_usual = (
        dials_00
        and metadata.national_prefix == _TRUNK_PREFIX
        # The first alternative that fits is stripped: the trunk prefix must be that alternative.
        and (strips or "").split("|")[0] == _TRUNK_PREFIX
        and metadata.national_prefix_transform_rule is None
    )
    trunk_pattern = metadata.general_desc.national_number_pattern if is_usual else None
    return NationalFormat(code, f"^(?:{special})", dials_00, trunk_pattern)
