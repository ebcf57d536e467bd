"""What the catalog of destinations may say, and that errors point at the line."""

from pathlib import Path

import pytest

from segmentation.errors import CatalogError, CatalogProblems
from segmentation.sync.catalog import FlagdDestination, SqlDestination, load_destinations
from segmentation.sync.stores.flagd import FlagdStore
from segmentation.sync.stores.opening import open_store
from segmentation.sync.stores.sqlalchemy_store import SqlAlchemyStore
from segmentation.sync.views import View

ROOT = Path(__file__).resolve().parents[3]

GOOD = """\
destinations:
  store:
    description: d
    kind: sqlalchemy
    url: sqlite:///{data}/store.db
    purposes: [essential.service, analytics]
    segments: [vip, risky]
    owner: team:x
    max_staleness_seconds: 60
"""


def load(tmp_path, text, placeholders=None, **options):
    path = tmp_path / "destinations.yml"
    path.write_text(text)
    return load_destinations(path, {"data": "/d"} if placeholders is None else placeholders, **options)


def refused(tmp_path, text, line, match, **options):
    with pytest.raises(CatalogProblems) as caught:
        load(tmp_path, text, **options)
    problem = caught.value.problems[0]
    assert match in problem.what
    assert (problem.file, problem.line) == (f"{tmp_path}/destinations.yml", line)
    assert problem.expected
    assert problem.repair


def test_the_shipped_catalog_is_valid(tmp_path):
    found = load_destinations(ROOT / "catalog" / "destinations.yml", {"data": str(tmp_path)})
    assert [(d.name, d.kind, d.enabled) for d in found] == [
        ("online_store", "sqlalchemy", True),
        ("feature_flags", "flagd", True),
    ]
    store, flags = (open_store(destination) for destination in found)
    assert isinstance(store, SqlAlchemyStore)
    assert isinstance(flags, FlagdStore)
    assert found[0].url == f"sqlite:///{tmp_path}/online_store.db"


def test_what_is_left_out_has_a_default(tmp_path):
    (found,) = load(tmp_path, GOOD)
    assert isinstance(found, SqlDestination)
    assert (found.batch_size, found.reconcile_every_seconds, found.enabled) == (10_000, 0, True)
    assert found.where == f"{tmp_path}/destinations.yml:2"
    assert found.url == "sqlite:////d/store.db"


def test_a_flag_file_has_a_path(tmp_path):
    text = GOOD.replace("sqlalchemy", "flagd").replace("url: sqlite:///{data}/store.db", "path: '{data}/f.json'")
    (found,) = load(tmp_path, text)
    assert isinstance(found, FlagdDestination)
    assert found.path == "/d/f.json"


@pytest.mark.parametrize(
    ("old", "new", "line", "match"),
    [
        ("kind: sqlalchemy", "kind: fax", 4, "kind"),
        ("kind: sqlalchemy", "kind: sqlalchemy\n    colour: red", 5, "colour"),
        ("    owner: team:x\n", "", 2, "owner"),
        ("max_staleness_seconds: 60", "max_staleness_seconds: 0", 9, "max_staleness_seconds"),
        ("max_staleness_seconds: 60", "max_staleness_seconds: soon", 9, "max_staleness_seconds"),
        ("purposes: [essential.service, analytics]", "purposes: []", 6, "purposes"),
        ("segments: [vip, risky]", "segments: some", 7, "segments"),
        ("segments: [vip, risky]", "segments: [vip, [x]]", 7, "segments"),
        ("  store:", "  Store!:", 2, "can't name a destination"),
        ("description: d", "description: d\n    name: other", 4, "unknown key destinations.store.name"),
        ("description: d", "description: d\n    description: e", 4, "duplicate key description, first given in line 3"),
        ("sqlite:///{data}/store.db", "nonsense", 5, "no database url"),
        ("{data}", "{home}", 5, "unknown placeholder {home}"),
        ("owner: team:x", "owner: [", 10, "not YAML"),
        ("destinations:\n", "targets:\n", 1, "the key destinations is missing"),
        ("    kind: sqlalchemy\n", "", 2, "the key destinations.store.kind is missing"),
        ("segments: [vip, risky]", "segments:", 7, "segments says nothing"),
    ],
)
def test_errors_point_at_the_line(tmp_path, old, new, line, match):
    assert old in GOOD
    refused(tmp_path, GOOD.replace(old, new), line, match)


def test_a_destination_that_says_nothing(tmp_path):
    refused(tmp_path, "destinations:\n  store:\n", 2, "says nothing")


def test_an_empty_file(tmp_path):
    refused(tmp_path, "", 1, "the file holds no keys")


def test_a_purpose_that_does_not_exist(tmp_path):
    load(tmp_path, GOOD, known_purposes=["analytics", "essential.service"])
    refused(tmp_path, GOOD, 6, "unknown consent purpose 'analytics'", known_purposes=["essential.service"])


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(CatalogError, match="can't be read"):
        load_destinations(tmp_path / "none.yml", {})


def test_a_password_may_come_from_a_placeholder(tmp_path):
    (found,) = load(tmp_path, GOOD.replace("sqlite:///{data}/store.db", "'{pg}'"), {"pg": "postgresql://u:secret@h/d"})
    assert found.url == "postgresql://u:secret@h/d"


def test_views_have_readable_stable_names():
    plain = View(("a", "b"))
    assert plain.view_id == "a+b"
    assert View(("a",), has_customers=False).view_id == "a~segments"
    limited = {View(("a",), ("x",)).view_id, View(("a",), ("y",)).view_id, View(("a",), None, ("x",)).view_id}
    assert len(limited) == 3
    assert all(name.startswith("a#") for name in limited)
