"""How a customer's sequence number is spelled: ``c_`` and ten digits of Crockford's base 32, lower case.

Belongs here: the spelling. Does not belong here: who gets which number (`assign.py`). An id says nothing
about the customer, sorts like its number, and at 12 characters is kept inline by the engine.
"""

PREFIX = "c_"
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
DIGITS = 10
_BITS = 5


def spell_customer_id(number: int) -> str:
    """Return the id of sequence ``number``: 0 to 2**50 - 1.

    Raises:
        ValueError: The number is outside that range.
    """
    if not 0 <= number < 1 << (_BITS * DIGITS):
        raise ValueError(f"{number} is not a customer's sequence number")
    digits = (ALPHABET[(number >> (_BITS * place)) & 31] for place in reversed(range(DIGITS)))
    return PREFIX + "".join(digits)


def customer_id_expression(number: str) -> str:
    """Return the SQL that spells the customer id of the bigint expression ``number``."""
    digits = ", ".join(
        f"substr('{ALPHABET}', ((({number}) >> {_BITS * place}) & 31) + 1, 1)" for place in reversed(range(DIGITS))
    )
    return f"concat('{PREFIX}', {digits})"
