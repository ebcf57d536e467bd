"""Texts for the solver: finite codes, the patterns that hold for a code, and a text for every code.

Belongs here: what makes reasoning about texts exact with whole numbers alone, because the solver's own texts cost
ten times as much. A text that rules mention has a code of its own. Any other text matters by two things only: which
patterns it matches, and whether it equals another such text. Does not belong here: other kinds of values
(``solver_encoding.py``).
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from typing import Literal

Shape = Literal["prefix", "suffix", "contains"]
#: A pattern without the feature that it is about.
Form = tuple[Shape, str]
#: A form, and whether a text that no rule mentions matches it.
Literals = tuple[tuple[Form, bool], ...]

#: Characters that may stand between the parts of an invented text; one that no rule mentions is taken.
_FILLERS = "-~_.:+#*0123456789abcdefghijklmnopqrstuvwxyz"
#: What a text is called that matches no pattern, where the rules leave the word free.
_PLAIN = "other"


def matches(form: Form, text: str) -> bool:
    """Say whether a text has a form."""
    shape, part = form
    match shape:
        case "prefix":
            return text.startswith(part)
        case "suffix":
            return text.endswith(part)
        case "contains":
            return part in text


def exclusions(forms: Iterable[Form]) -> Iterator[Literals]:
    """Yield what no text can be: sets of forms, each matched or not, that never come together.

    What these leave possible, ``invent`` makes a text of: of prefixes that hold, one is the longest and says
    all about the others, and so do suffixes; a text that is found within what is surely there is there as well.
    """
    for one, other in combinations(sorted(set(forms)), 2):
        for (shape, part), (second, within) in (((one, other)), ((other, one))):
            inner: Form = (second, within)
            outer: Form = (shape, part)
            if second in {shape, "contains"} and matches(inner, part):
                yield (outer, True), (inner, False)
        if one[0] == other[0] != "contains" and not matches(one, other[1]) and not matches(other, one[1]):
            yield (one, True), (other, True)


def invent(held: Iterable[Form], absent: Iterable[Form], mentioned: Iterable[str], number: int) -> str:
    """Return a text of exactly the forms that are held, that is none of those mentioned.

    Args:
        held: The forms that it has; ``exclusions`` leaves them possible together with what is absent.
        absent: The forms that it must not have.
        mentioned: Texts of the rules, which it must differ from.
        number: Counts texts of the same forms, from 0; each number gives another text.
    """
    held, absent, texts = sorted(set(held)), list(absent), set(mentioned)
    word = f"{_PLAIN} {number}" if number else _PLAIN
    if not held and word not in texts and not any(matches(form, word) for form in absent):
        return word
    used = set("".join([*texts, *(part for _, part in [*held, *absent])]))
    # Texts of rules are short, so hardly any use up all of these; the private characters are for those that do.
    filler = next(char for char in _candidates() if char not in used)
    prefix = max((part for shape, part in held if shape == "prefix"), key=len, default="")
    suffix = max((part for shape, part in held if shape == "suffix"), key=len, default="")
    inner = [part for shape, part in held if shape == "contains"]
    inner = [part for part in inner if not any(part in other and part != other for other in [prefix, suffix, *inner])]
    inner = [part for part in inner if part not in {prefix, suffix}]
    return (
        filler.join([prefix, *inner, ""]) + filler * number + suffix
        if prefix or inner
        else (filler * (number + 1) + suffix)
    )


def _candidates() -> Iterator[str]:
    yield from _FILLERS
    yield from map(chr, range(0xE000, 0xF8FF))


def codes_of(texts: Iterable[str]) -> Mapping[str, int]:
    """Give each text that rules mention a code, counted from 0; any other text has a higher one."""
    return {text: code for code, text in enumerate(dict.fromkeys(texts))}
