"""Catalog files: what is read, what is refused, and how a person is told."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from segmentation.documents import Document, read_document
from segmentation.errors import CatalogProblems, did_you_mean


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Cat(_Strict):
    kind: Literal["cat"]
    lives: int = Field(ge=1)


class Fish(_Strict):
    kind: Literal["fish"]
    scales: Literal["all"] | list[str]


class Zoo(_Strict):
    owner: str = Field(min_length=1)
    animals: dict[str, Annotated[Cat | Fish, Field(discriminator="kind")]] = Field(min_length=1)
    keepers: tuple[str, ...] = ()
    file: Path = Field(default=Path(), exclude=True)


GOOD = "owner: x\nanimals:\n  tom:\n    kind: cat\n    lives: 9\n"


def read(folder: Path, text: str) -> Document:
    path = folder / "zoo.yml"
    path.write_text(text, encoding="utf-8")
    return read_document(path, "zoo.yml")


def said(folder: Path, text: str) -> list[str]:
    document = read(folder, text)
    with pytest.raises(CatalogProblems) as caught:
        document.parse(Zoo, given={"file": document.path}, expected="a zoo")
    assert all(problem.expected and problem.repair for problem in caught.value.problems)
    return [f"{problem.where.removeprefix('zoo.yml:')} {problem.what}" for problem in caught.value.problems]


def test_a_good_file_becomes_a_model(tmp_path: Path) -> None:
    document = read(tmp_path, GOOD)
    zoo = document.parse(Zoo, given={"file": document.path})
    assert (zoo.animals["tom"], zoo.file) == (Cat(kind="cat", lives=9), tmp_path / "zoo.yml")
    assert document.where(("animals", "tom", "lives")) == "zoo.yml:5"
    assert document.where(("animals", "tom", "tail")) == "zoo.yml:3"
    assert document.where(("elsewhere",)) == "zoo.yml:1"


@pytest.mark.parametrize(
    ("old", "new", "problems"),
    [
        ("owner: x\n", "", ["1:1 the key owner is missing"]),
        ("owner", "ownr", ["1:1 unknown key ownr; did you mean owner?"]),
        ("owner", "zzz", ["1:1 the key owner is missing", "1:1 unknown key zzz"]),
        ("owner: x", "owner:", ["1:1 owner says nothing"]),
        ("owner: x", "owner: 5", ["1:1 owner: it must be a text"]),
        ("owner: x", "owner: x\nfile: y", ["2:1 unknown key file"]),
        ("owner: x", "owner: x\nkeepers: y", ["2:1 keepers: it must be a list"]),
        ("lives: 9", "lives: 0", ["5:5 animals.tom.lives: input should be greater than or equal to 1"]),
        ("lives", "livs", ["5:5 unknown key animals.tom.livs; did you mean lives?"]),
        ("kind: cat", "kind: cot", ["4:5 animals.tom.kind: 'cot' is not known; did you mean cat?"]),
        ("    kind: cat\n", "", ["3:3 the key animals.tom.kind is missing"]),
        ("    kind: cat\n    lives: 9\n", "", ["3:3 animals.tom says nothing"]),
        (
            "kind: cat\n    lives: 9",
            "kind: fish\n    scales: some",
            ["5:5 animals.tom.scales: input should be 'all', or it must be a list"],
        ),
        (
            "kind: cat\n    lives: 9",
            "kind: fish\n    scales: [a, [b]]",
            ["5:17 animals.tom.scales[1]: it must be a text"],
        ),
        ("kind: cat\n    lives: 9", "kind: fish\n    scales:", ["5:5 animals.tom.scales says nothing"]),
    ],
)
def test_complaints_are_about_keys_of_the_file(tmp_path: Path, old: str, new: str, problems: list[str]) -> None:
    assert old in GOOD
    assert said(tmp_path, GOOD.replace(old, new)) == problems


def test_the_keys_offered_are_those_of_the_kind_that_was_chosen(tmp_path: Path) -> None:
    with pytest.raises(CatalogProblems) as caught:
        read(tmp_path, GOOD + "    scales: all\n").parse(Zoo)
    assert caught.value.expected == "one of kind, lives"


def test_all_problems_are_told_and_none_twice(tmp_path: Path) -> None:
    text = "ownr: x\nanimals:\n  tom: {kind: cat, lives: 0}\n  nemo: {kind: fish}\nkeepers: [1]\n"
    assert said(tmp_path, text) == [
        "3:20 animals.tom.lives: input should be greater than or equal to 1",
        "4:3 the key animals.nemo.scales is missing",
        "5:11 keepers[0]: it must be a text",
        "1:1 unknown key ownr; did you mean owner?",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "1:1 the file holds no keys"),
        ("- a\n", "1:1 the file holds no keys"),
        ("owner: a\n\tanimals: b\n", "2:1 not YAML: found character '\\t' that cannot start any token"),
        ("owner: a\nowner: b\n", "2:1 duplicate key owner, first given in line 1"),
        ("owner: &x a\nkeepers: [*x]\n", "1:8 anchors and aliases are not allowed"),
        ("owner: a\nkeepers: !!set {a}\n", "2:10 the tag tag:yaml.org,2002:set is not allowed"),
        ("owner: !!binary aGk=\n", "1:8 the tag tag:yaml.org,2002:binary is not allowed"),
        ("{[a]: b}\n", "1:2 a key must be a plain text"),
        ("owner: NO\n", "1:8 NO may mean a text or something else (YAML: bool)"),
        ("owner: 010\n", "1:8 010 may mean a text or something else (YAML: int)"),
        ("owner: 1:30\n", "1:8 1:30 may mean a text or something else (YAML: int)"),
        ("owner: .nan\n", "1:8 .nan may mean a text or something else (YAML: float)"),
        ("owner: \x00\n", "1:1 not YAML: unacceptable character #x0000: special characters are not allowed"),
        ("[" * 60, "1:51 the file is nested too deeply"),
    ],
)
def test_what_has_no_one_meaning_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    assert said(tmp_path, text) == [problem]


def test_dates_stay_text_and_numbers_are_numbers(tmp_path: Path) -> None:
    content = read(tmp_path, "a: 2026-13-45\nb: 0.10\nc: 1_000\nd: ~\ne: true\nf: '010'\n").content
    assert content == {"a": "2026-13-45", "b": 0.1, "c": 1000, "d": None, "e": True, "f": "010"}


def test_files_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "zoo.yml"
    for problem in (read_document(path).problems, read_document(tmp_path).problems):
        assert "can't be read: " in problem[0].what
    path.write_bytes(b"owner: a\nanimals: \xff\n")
    assert [(problem.what, problem.line) for problem in read_document(path).problems] == [("the file is not UTF-8", 2)]
    path.write_text("#" * 1_000_001)
    assert "larger than 1,000,000 bytes" in read_document(path).problems[0].what


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_with_a_place(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yml"
    path.write_bytes(text.encode("utf-8", "replace"))
    document = read_document(path)
    assert all(problem.line >= 1 for problem in document.problems)
    with pytest.raises(CatalogProblems):
        document.parse(Zoo)


def test_a_guess_does_not_mind_case() -> None:
    assert did_you_mean("customerid", ["CustomerID", "Country"]) == "; did you mean CustomerID?"
    assert did_you_mean("zzz", ["CustomerID"]) == ""
