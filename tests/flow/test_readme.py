"""What the README and the pages of docs/ say is so: links, paths, commands, settings, examples.

Nothing here runs the chain: names are held against the code, examples go through the loaders that a run uses.
"""

import re
import shutil
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest
import typer.main
import yaml
from pydantic import SecretStr

from expectations.gates import GATES
from orchestration.cli import app
from orchestration.settings import Settings
from orchestration.stages import STAGE_NAMES
from segmentation import errors
from segmentation.contracts import ensure_schema
from segmentation.costs.pools import check_segments as check_pools
from segmentation.costs.pools import load_pools
from segmentation.features.contract import load_contract
from segmentation.identity.purposes import load_purposes
from segmentation.segments.catalog import validate_catalog
from segmentation.segments.definitions import Groups
from segmentation.segments.policy import check_policy, load_policy
from segmentation.sources.check import check_file
from segmentation.sources.mapping import load_mappings
from segmentation.sync.catalog import check_segments, load_destinations

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FOLDERS = "assets benchmarks catalog dbt_project docs expectations orchestration scripts segmentation sensors tests"
_PATH = re.compile(rf"(?:{'|'.join(_FOLDERS.split())})/[\w./*-]*")
_COMMAND = re.compile(r"\bstrata ((?:(?:approvals|audit|destinations|identity|matching) )?[a-z][a-z-]*)([^|;&]*)")
_OPTION = re.compile(r"--[a-z][a-z-]*")
_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'")


@dataclass(frozen=True)
class Example:
    """A fenced block of a page."""

    page: Path
    language: str
    text: str

    @property
    def content(self) -> dict:
        """A YAML example as plain values."""
        return yaml.safe_load(self.text)


def shown(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def examples(page: Path) -> list[Example]:
    found = _FENCE.finditer(page.read_text(encoding="utf-8"))
    return [Example(page, match["language"], textwrap.dedent(match["text"])) for match in found]


def all_examples(language: str) -> list:
    found = [example for page in PAGES for example in examples(page) if example.language == language]
    return [pytest.param(example, id=f"{shown(example.page)}-{index}") for index, example in enumerate(found)]


def prose(page: Path) -> str:
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def code(page: Path) -> list[str]:
    """Everything a reader may type: code within the text, and the lines of shell blocks, without comments."""
    spans = [" ".join(span.split()) for span in _SPAN.findall(prose(page))]
    lines = [line for example in examples(page) if example.language in {"sh", ""} for line in example.text.splitlines()]
    return spans + [line.split("#")[0] for line in lines]


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def commands() -> dict[str, set[str]]:
    """Return the options of every command; one of a group goes by the group's name and its own."""
    named = dict(typer.main.get_command(app).commands)
    for name, command in list(named.items()):
        named |= {f"{name} {inner}": one for inner, one in getattr(command, "commands", {}).items()}
    return {
        name: {option for one in command.params for option in (*one.opts, *one.secondary_opts) if option[:2] == "--"}
        | {"--help"}
        for name, command in named.items()
    }


each_page = pytest.mark.parametrize("page", PAGES, ids=shown)


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for target in _LINK.findall(prose(page)):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), f"{shown(page)} links to {target}"
        assert not anchor or anchor in anchors(file), f"{shown(page)} links to {target}"


@each_page
def test_paths_exist(page: Path) -> None:
    made_here = {
        f"catalog/{folder}/{example.content[key]}.yml"
        for example in examples(page)
        if example.language == "yaml"
        for folder, key in (("segments", "key"), ("sources", "source"))
        if key in example.content
    }
    for span in code(page):
        if _PATH.fullmatch(span) and span not in made_here:
            assert list(ROOT.glob(span)), f"{shown(page)} names {span}"


@each_page
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {name for text in code(page) for name in re.findall(r"\bmake ([a-z][a-z-]*)", text)}
    assert named <= targets


@each_page
def test_commands_and_their_options_exist(page: Path) -> None:
    known = commands()
    for text in code(page):
        for name, rest in _COMMAND.findall(text):
            assert name in known, f"{shown(page)} names strata {name}"
            # What stands in quotes is a value, whatever it says.
            assert set(_OPTION.findall(_QUOTED.sub("", rest))) <= known[name], f"{shown(page)}: {text}"


def test_every_command_is_documented() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## strata ([a-z -]+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    known = commands()
    assert set(sections) == set(known)
    for name, options in known.items():
        assert options - {"--json", "--help"} <= set(_OPTION.findall(sections[name])), name
    codes = {int(found) for found in re.findall(r"^\| (\d) \|", page, re.MULTILINE)}
    used = {kind.exit_code for kind in vars(errors).values() if hasattr(kind, "exit_code")}
    assert codes == used | {0, 2}


def test_every_setting_is_documented_with_its_default() -> None:
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| (.*?) \| .* \|$", page, re.MULTILINE))
    variables = {name: f"STRATA_{name.upper()}" for name in Settings.model_fields} | {"dagster_home": "DAGSTER_HOME"}
    assert rows == {variables[name]: default_of(name) for name in Settings.model_fields}
    secrets = [
        name for name, field in Settings.model_fields.items() if SecretStr in getattr(field.annotation, "__args__", ())
    ]
    for name in secrets:
        assert re.search(rf"^\| `{variables[name]}` .*; secret", page, re.MULTILINE)


def default_of(name: str) -> str:
    default = Settings.model_fields[name].default
    if default is None:
        return "–"
    if isinstance(default, Path):
        return f"`{default.relative_to(ROOT).as_posix()}`"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def test_every_truth_that_may_be_accepted_is_named() -> None:
    page = prose(ROOT / "docs" / "gates.md")
    acceptable = {truth.name for gate in GATES for truth in gate.suite.truths if truth.may_be_accepted}
    assert acceptable <= set(_SPAN.findall(page))


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """The shipped catalog, to add an example to."""
    return Path(shutil.copytree(ROOT / "catalog", tmp_path / "catalog"))


def load_mapping(example: Example, catalog: Path) -> None:
    (catalog / "sources" / f"{example.content['source']}.yml").write_text(example.text, encoding="utf-8")
    purposes = load_purposes(catalog).by_name
    mappings = load_mappings(catalog / "sources", known_purposes=purposes)
    assert example.content["source"] in {mapping.source for mapping in mappings}


def load_segment(example: Example, catalog: Path) -> None:
    groups = catalog / "groups.yml"
    # A group that only the page speaks of is made for its example.
    for key in set(example.content.get("groups", ())) - {
        one["key"] for one in yaml.safe_load(groups.read_text())["groups"]
    }:
        groups.write_text(
            f"{groups.read_text()}  - {{key: {key}, name: {key}, description: {key}}}\n", encoding="utf-8"
        )
    (catalog / "segments" / f"{example.content['key']}.yml").write_text(example.text, encoding="utf-8")
    assert validate_catalog(catalog, load_contract(ROOT / "dbt_project")) == []


def load_stores(example: Example, catalog: Path) -> None:
    (catalog / "destinations.yml").write_text(example.text, encoding="utf-8")
    purposes = list(load_purposes(catalog).by_name)
    found = load_destinations(catalog / "destinations.yml", {"data": "data"}, known_purposes=purposes)
    check_segments(found, [path.stem for path in (catalog / "segments").glob("*.yml")])


def load_groups(example: Example, _catalog: Path) -> None:
    assert Groups.model_validate(example.content).groups


def load_cost_pools(example: Example, catalog: Path) -> None:
    (catalog / "cost_pools.yml").write_text(example.text, encoding="utf-8")
    check_pools(load_pools(catalog / "cost_pools.yml"), {path.stem for path in (catalog / "segments").glob("*.yml")})


def load_limits(example: Example, catalog: Path) -> None:
    (catalog / "policy.yml").write_text(example.text, encoding="utf-8")
    assert (
        check_policy(catalog, load_policy(catalog), [path.stem for path in (catalog / "segments").glob("*.yml")]) == []
    )


#: Loader by the key that an example begins with; an example of another kind is an error.
LOADERS = {
    "source": load_mapping,
    "key": load_segment,
    "destinations": load_stores,
    "groups": load_groups,
    "rule_version": load_cost_pools,
    "approvals": load_limits,
}


@pytest.mark.parametrize("example", all_examples("yaml"))
def test_yaml_examples_are_what_the_catalog_takes(example: Example, catalog: Path) -> None:
    LOADERS[next(iter(example.content))](example, catalog)


def test_the_readmes_file_loads_as_the_readme_says(catalog: Path, tmp_path: Path) -> None:
    by_language = {example.language: example for example in examples(README)}
    mapping = next(one for one in examples(README) if one.language == "yaml" and "source" in one.content)
    load_mapping(mapping, catalog)
    file = tmp_path / "2026-10.csv"
    file.write_text(by_language["csv"].text, encoding="utf-8")
    found = check_file(file, load_mappings(catalog / "sources"), feed=mapping.content["feeds"][0]["folder"])
    told = re.findall(
        r"^ *(order\w*) +(\d+) +(\d+) +(\d+) +(\d+) +(\d+) +no$", README.read_text(encoding="utf-8"), re.MULTILINE
    )
    counts = [
        (one.entity, one.rows_read, one.rows_loaded, one.rows_folded, one.rows_duplicate, one.rows_quarantined)
        for one in found.entities
    ]
    assert told == [tuple(map(str, row)) for row in counts]


@pytest.fixture(scope="module")
def published() -> Iterator[duckdb.DuckDBPyConnection]:
    """Every published table, empty: the stages' from their schemas, features and marts from their contracts."""
    con = duckdb.connect()
    for stage in STAGE_NAMES:
        ensure_schema(con, stage)
    con.execute("create schema marts")
    contracts = [(ROOT / "dbt_project/models/features/customer_features.yml", "features")]
    contracts += [(path, "marts") for path in (ROOT / "dbt_project" / "models" / "marts").rglob("*.yml")]
    for path, schema in contracts:
        for model in yaml.safe_load(path.read_text(encoding="utf-8"))["models"]:
            columns = [f"{one['name']} {one['data_type']}" for one in model["columns"]]
            types = ", ".join(columns).replace("array<string>", "varchar[]")
            con.execute(f"create table {schema}.{model['name']} ({types})")
    yield con
    con.close()


@pytest.mark.parametrize("example", all_examples("sql"))
def test_queries_name_what_is_published(example: Example, published: duckdb.DuckDBPyConnection) -> None:
    assert published.execute(example.text).description


@pytest.mark.parametrize("example", all_examples("python"))
def test_python_examples_parse(example: Example) -> None:
    assert compile(example.text, shown(example.page), "exec")
