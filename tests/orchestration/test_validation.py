"""`strata validate` tells every mistake of every catalog file in one go, and each once."""

import shutil
from pathlib import Path

import pytest

from orchestration.commands.catalog import find_problems
from orchestration.settings import ROOT, Settings

#: File of the catalog, what is changed in it, and what a person is then told.
MISTAKES = (
    ("sources/crm.yml", "owner:", "ownr:", "unknown key ownr; did you mean owner?"),
    ("identifiers.yml", "max_nodes:", "max_knots:", "unknown key max_knots; did you mean max_nodes?"),
    ("purposes.yml", "basis: consent", "basis: consnt", ".basis: input should be 'consent'"),
    ("groups.yml", "name:", "nmae:", "unknown key groups[0].nmae; did you mean name?"),
    ("cost_pools.yml", "method:", "metod:", "unknown key pools[0].metod; did you mean method?"),
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    shutil.copytree(ROOT / "catalog", tmp_path / "catalog")
    return Settings.load(data=tmp_path / "data", catalog=tmp_path / "catalog")


def test_the_shipped_catalog_has_no_problem(settings: Settings) -> None:
    assert [problem for problem in find_problems(settings) if problem.severity == "error"] == []


def test_mistakes_in_all_files_are_told_at_once_and_each_once(settings: Settings) -> None:
    for name, old, new, _ in MISTAKES:
        path = settings.catalog / name
        path.write_text(path.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    problems = find_problems(settings)
    for name, _, _, said in MISTAKES:
        found = [problem for problem in problems if said in problem.what]
        assert [Path(problem.file).name for problem in found] == [Path(name).name], name
        assert found[0].line > 1
        assert found[0].repair
    assert all(problem.expected for problem in problems if "unknown key" in problem.what)


def test_a_misspelt_key_of_a_destination_is_told(settings: Settings) -> None:
    path = settings.catalog / "destinations.yml"
    path.write_text(path.read_text(encoding="utf-8").replace("owner:", "ownr:", 1), encoding="utf-8")
    (problem,) = find_problems(settings)
    assert problem.what == "unknown key destinations.online_store.ownr; did you mean owner?"
    assert Path(problem.file).name == "destinations.yml"
