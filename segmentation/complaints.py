"""Complaints of a model about a file, in words about the file's keys.

Belongs here: what pydantic found, said for a person who sees YAML and knows no Python. Does not belong here: reading
the file and the lines of its values (`documents.py`).
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticCustomError

from segmentation.errors import did_you_mean, nearest_name

Location = tuple[str | int, ...]

#: What pydantic says in words of Python, in words of YAML.
_PLAIN = {
    "dict_type": "it must be a block of keys",
    "list_type": "it must be a list",
    "model_attributes_type": "it must be a block of keys",
    "model_type": "it must be a block of keys",
    "string_type": "it must be a text",
    "too_short": "it has too few entries",
    "tuple_type": "it must be a list",
}


#: Type of the complaints that validators word themselves.
_TOLD = "told"


def tell(what: str, *, expected: str, repair: str) -> PydanticCustomError:
    """Return what a validator raises where it knows more than that a value is wrong."""
    return PydanticCustomError(_TOLD, "{what}", {"what": what, "expected": expected, "repair": repair})


@dataclass(frozen=True, slots=True)
class Complaint:
    """What is wrong at one location of a file."""

    location: Location
    what: str
    expected: str = ""
    repair: str = ""


def complaints_of(error: ValidationError, model: type[BaseModel], known: Collection[Location]) -> list[Complaint]:
    """Return all complaints, in the order in which pydantic found them.

    Args:
        error: What pydantic raised.
        model: The model of the whole file.
        known: Every location that the file has.
    """
    details: list[dict[str, Any]] = [dict(detail) for detail in error.errors(include_url=False)]
    misspelt = set(_misspelt(details, model))
    said: dict[Location, Complaint] = {}
    for detail in details:
        location = _in_file(detail["loc"], known)
        # A misspelt key is also a missing one; the misspelling is what a person can see in the file.
        if detail["type"] == "missing" and tuple(detail["loc"]) in misspelt:
            continue
        complaint = _complaint(detail, model, location)
        earlier = said.get(complaint.location)
        if earlier and earlier.what != complaint.what:
            # The branches of a choice complain one by one about the same value.
            _, _, also = complaint.what.partition(": ")
            complaint = Complaint(earlier.location, f"{earlier.what}, or {also or complaint.what}", earlier.expected)
        said[complaint.location] = complaint
    # What is wrong inside a value makes the value wrong as well; that says nothing new.
    return [one for place, one in said.items() if not any(_is_within(other, place) for other in said)]


def _is_within(inner: Location, outer: Location) -> bool:
    return len(inner) > len(outer) and inner[: len(outer)] == outer


def _complaint(detail: dict[str, Any], model: type[BaseModel], location: Location) -> Complaint:
    name, last = _dotted(location), detail["loc"][-1] if detail["loc"] else ""
    match detail["type"]:
        case "extra_forbidden":
            known = keys_at(model, tuple(detail["loc"][:-1]))
            what = f"unknown key {name}{did_you_mean(str(last), known)}"
            return Complaint(location, what, f"one of {', '.join(known)}", "rename or remove the key")
        case "missing":
            return _missing(location, str(last))
        case "union_tag_not_found":
            return _missing(location, detail["ctx"]["discriminator"].strip("'"))
        case "union_tag_invalid":
            context = detail["ctx"]
            kind = (*location, context["discriminator"].strip("'"))
            what = f"{_dotted(kind)}: {context['tag']!r} is not known{did_you_mean(context['tag'], _tags(context))}"
            return Complaint(kind, what, f"one of {', '.join(_tags(context))}")
    if detail["input"] is None and location:
        return Complaint(location, f"{name} says nothing", "a value", f"give {name} a value, or remove it")
    text = _PLAIN.get(detail["type"]) or str(detail["msg"]).removeprefix("Value error, ")
    text = text[0].lower() + text[1:]
    told = detail["ctx"] if detail["type"] == _TOLD else {}
    return Complaint(location, f"{name}: {text}" if name else text, told.get("expected", ""), told.get("repair", ""))


def _missing(location: Location, key: str) -> Complaint:
    # The key has a location of its own, so that several of one block stay apart; the file shows the block's line.
    place = (*location, key)
    return Complaint(place, f"the key {_dotted(place)} is missing", f"a value for {key}", f"add {key}:")


def _tags(context: dict[str, Any]) -> list[str]:
    return [tag.strip().strip("'") for tag in str(context["expected_tags"]).split(",")]


def _misspelt(details: list[dict[str, Any]], model: type[BaseModel]) -> Iterator[Location]:
    for detail in details:
        *block, key = detail["loc"] or ("",)
        meant = nearest_name(str(key), keys_at(model, tuple(block))) if detail["type"] == "extra_forbidden" else None
        if meant:
            yield (*block, meant)


def _in_file(location: Location, known: Collection[Location]) -> Location:
    """Leave out what pydantic adds for the branches of a choice and for missing keys."""
    found: Location = ()
    for part in location:
        if (*found, part) in known:
            found = (*found, part)
    return found


def _dotted(location: Location) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.removeprefix(".")


def keys_at(kind: Any, location: Location) -> list[str]:
    """Return the keys that a file may have at a location; fields that are never written are none."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        if not location:
            return [name for name, field in kind.model_fields.items() if not field.exclude]
        field = kind.model_fields.get(str(location[0]))
        if field:
            return keys_at(field.annotation, location[1:])
        # What is no field is the tag of a choice between models, and only one of them has it.
        tags = [get_args(one.annotation) for one in kind.model_fields.values() if get_origin(one.annotation) is Literal]
        return keys_at(kind, location[1:]) if any(location[0] in tag for tag in tags) else []
    if get_origin(kind) in {list, tuple, dict} and location:
        location = location[1:]
    return list(dict.fromkeys(key for part in get_args(kind) for key in keys_at(part, location)))
