"""Which phone numbers are in normal form already, by country calling code.

Belongs here: conditions, taken from the metadata of `phonenumbers`, under which a number's digits are its
E.164 form and parsing it would change nothing. Does not belong here: numbers that need parsing
(`normalise.py`). A number that fails a condition is not wrong, it only has to be parsed.
"""

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


@dataclass(frozen=True, slots=True)
class NationalFormat:
    """How numbers that name no country are read in one country of the usual plan.

    In the usual plan ``00`` begins an international number and ``0`` a national one; both go away.

    Attributes:
        code: The country's calling code.
        whole_pattern: Pattern of numbers that are whole as they stand, so that their ``0`` would stay.
    """

    code: str
    whole_pattern: str


@cache
def national_format(region: str) -> NationalFormat | None:
    """Return the format of a country (ISO 3166-1), ``None`` where it does not follow the usual plan."""
    metadata = PhoneMetadata.metadata_for_region(region, None)
    if metadata is None or metadata.general_desc is None or metadata.country_code is None:
        return None
    code, pattern = metadata.country_code, metadata.general_desc.national_number_pattern
    is_usual = (
        metadata.international_prefix == _INTERNATIONAL_PREFIX
        and metadata.national_prefix == _TRUNK_PREFIX
        # The first alternative that fits is stripped: the trunk prefix must be that alternative.
        and (metadata.national_prefix_for_parsing or "").split("|")[0] == _TRUNK_PREFIX
        and metadata.national_prefix_transform_rule is None
        # Countries that share a calling code are judged by the metadata of its main one.
        and phonenumbers.region_code_for_country_code(code) == region
    )
    return NationalFormat(str(code), pattern) if is_usual and pattern is not None else None
