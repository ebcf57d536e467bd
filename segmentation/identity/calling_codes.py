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
