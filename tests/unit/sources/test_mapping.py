"""Mapping files: what they mean, and how their mistakes are reported."""

from pathlib import Path

import pytest

from segmentation.errors import CatalogError, CatalogProblems
from segmentation.sources.mapping import load_mappings

GOOD = """\
source: crm
description: Customers.
owner: team:sales
feeds:
  - folder: crm_customers
    entities:
      - entity: customer_records
        columns:
          source_customer_id: CustomerID
          updated_at: {column: Changed, format: "%d/%m/%Y"}
          country: {constant: GB}
          company_name: {expression: "trim(Company)"}
        reject:
          - {when: "CustomerID is null", reason: customer id is missing}
"""


def read(folder: Path, text: str, name: str = "crm.yml"):
    (folder / name).write_text(text, encoding="utf-8")
    return load_mappings(folder)


def test_a_mapping_says_what_it_reads(tmp_path: Path) -> None:
    (mapping,) = read(tmp_path, GOOD)
    feed = mapping.feeds[0]
    assert mapping.source == "crm"
    assert mapping.path == tmp_path / "crm.yml"
    assert (feed.pattern, feed.format, feed.encoding, feed.delimiter, feed.null_values) == (
        "*",
        None,
        "utf-8",
        ",",
        ("",),
    )
    assert feed.reads == ("CustomerID", "Changed", "Company")
    assert feed.entities[0].needs == ("CustomerID", "Changed")
    assert feed.entities[0].columns["country"].constant == "GB"


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("customer_records", "customer_record", 7, "did you mean customer_records"),
        ("updated_at:", "updatedat:", 10, "did you mean updated_at"),
        ("          source_customer_id: CustomerID\n", "", 8, "required column source_customer_id"),
        ("folder:", "foldr:", 5, "unknown key feeds[0].foldr; did you mean folder"),
        ("  - folder: crm_customers\n    entities", "  - entities", 5, "the key feeds[0].folder is missing"),
        ("owner:", "ownr:", 3, "unknown key ownr; did you mean owner"),
        ("{constant: GB}", "{constnt: GB}", 11, "did you mean constant"),
        ("{constant: GB}", "{constant: GB, column: x}", 11, "exactly one of column, constant, expression"),
        ("{constant: GB}", "{constant: GB, format: x}", 11, "not with a constant"),
        ("country: {constant: GB}", "country: {column: c, format: '%Y'}", 11, "format is for timestamps and dates"),
        ('"%d/%m/%Y"', '"%d/%Q"', 10, "'%d/%Q' is not a strptime format"),
        ("country: {constant: GB}", "birth_date: {constant: soon}", 11, "'soon' is not a DATE"),
        ("trim(Company)", "trimm(Company)", 12, "function trimm is not allowed in a mapping; did you mean trim"),
        ("trim(Company)", "(select 1)", 12, "a subquery"),
        ("CustomerID is null", "read_text('x') is null", 14, "function read_text"),
        ("when:", "wen:", 14, "reject[0].wen; did you mean when"),
        ("folder: crm_customers", "folder: ../secrets", 5, "below the landing root"),
        ("folder: crm_customers", "folder: /etc", 5, "below the landing root"),
        ("folder: crm_customers", "folder: f\n    encoding: utf-9", 6, "unknown encoding 'utf-9'"),
        ("folder: crm_customers", "folder: f\n    delimiter: ';;'", 6, "one character"),
        ("folder: crm_customers", "folder: f\n    format: xlsx", 6, "csv"),
        ("        reject:", "        one_row_per: [company]\n        reject:", 13, "did you mean company_name"),
        ("owner: team:sales", "owner: team:sales\nowner: x", 4, "duplicate key owner, first given in line 3"),
        ("feeds:\n", "feeds: [\n", 5, "not YAML"),
        ("source: crm", "source: ''", 1, "at least 1 character"),
        ("source: crm", "source: crm\npath: /x", 2, "unknown key path"),
        ("{constant: GB}", "{constant: NO}", 11, 'write "NO" in quotes'),
    ],
)
def test_mistakes_name_the_line_and_what_was_meant(tmp_path: Path, old: str, new: str, line: int, says: str) -> None:
    assert old in GOOD
    with pytest.raises(CatalogProblems) as caught:
        read(tmp_path, GOOD.replace(old, new, 1))
    problem = caught.value.problems[0]
    assert says in f"{problem.what}; {problem.repair}"
    assert (problem.file, problem.line) == (str(tmp_path / "crm.yml"), line)
    assert problem.expected
    assert problem.repair


def test_all_mistakes_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "shop.yml").write_text("source: shop\nfeed: []\n", encoding="utf-8")
    broken = GOOD.replace("{constant: GB}", "{constant: GB, format: x}").replace("owner:", "ownr:")
    with pytest.raises(CatalogProblems) as caught:
        read(tmp_path, broken)
    assert [Path(problem.file).name for problem in caught.value.problems] == ["crm.yml", "crm.yml", "shop.yml"]
    assert "the catalog has 3 errors" in caught.value.what


def test_an_entity_is_filled_once_per_feed(tmp_path: Path) -> None:
    entity = GOOD[GOOD.index("      - entity") :]
    with pytest.raises(CatalogProblems, match="fills customer_records twice") as caught:
        read(tmp_path, GOOD + entity)
    assert [problem.line for problem in caught.value.problems] == [15]


def test_two_files_can_not_claim_one_source(tmp_path: Path) -> None:
    read(tmp_path, GOOD)
    with pytest.raises(CatalogError, match=r"'crm' is mapped by two files") as caught:
        read(tmp_path, GOOD, "crm2.yml")
    assert "crm2.yml:1" in caught.value.where


@pytest.mark.parametrize("text", ["", "- a\n", "just text"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(CatalogError, match="holds no keys"):
        read(tmp_path, text)


def test_a_folder_or_file_that_can_not_be_read_is_reported(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="no folder of source mappings"):
        load_mappings(tmp_path / "missing")
    (tmp_path / "bad.yml").write_bytes(b"source: \xff\xfe")
    with pytest.raises(CatalogError, match="not UTF-8"):
        load_mappings(tmp_path)


def test_the_hash_follows_what_changes_rows_and_nothing_else(tmp_path: Path) -> None:
    def hash_of(text: str) -> str:
        (mapping,) = read(tmp_path, text)
        return mapping.feeds[0].hash_of(mapping.feeds[0].entities[0], mapping.source)

    base = hash_of(GOOD)
    assert hash_of(GOOD) == base
    assert hash_of(GOOD.replace("Customers.", "Other words.")) == base
    assert hash_of(GOOD.replace("crm_customers", "elsewhere")) == base
    assert hash_of("# a comment\n" + GOOD) == base
    for old, new in [
        ("{constant: GB}", "{constant: FR}"),
        ("%d/%m", "%m/%d"),
        ("source: crm", "source: crm2"),
        ("trim(", "upper("),
        ("id is missing", "id is absent"),
        ("folder: crm_customers", "folder: crm_customers\n    null_values: ['-']"),
        ("folder: crm_customers", "folder: crm_customers\n    encoding: latin-1"),
    ]:
        assert hash_of(GOOD.replace(old, new)) != base, new


def test_every_shipped_mapping_is_valid() -> None:
    folder = Path(__file__).parents[3] / "catalog" / "sources"
    assert "online_retail" in {mapping.source for mapping in load_mappings(folder)}


ASK = "        consent: {purposes: [analytics], without: drop}\n"


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("[analytics]", "[analytic]", 8, "unknown consent purpose 'analytic'; did you mean analytics"),
        ("[analytics]", "[]", 8, "purposes"),
        ("without: drop", "without: strip", 8, "drop"),
        ("without: drop", "undecided: keep", 8, "'withhold' or 'load'"),
        ("customer_records", "accounts", 8, "name nobody whose consent"),
        ("customer_records", "consent_events", 8, "are kept whatever they say"),
        (
            "updated_at: {column: Changed",
            "updated_at: {consent: {purposes: [analytics]}, column: Changed",
            11,
            "no row can be loaded without updated_at",
        ),
    ],
)
def test_consent_that_can_not_be_asked_is_told(tmp_path: Path, old: str, new: str, line: int, says: str) -> None:
    text = GOOD.replace("        columns:\n", f"{ASK}        columns:\n")
    assert text.count(old) == 1
    (tmp_path / "crm.yml").write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(CatalogProblems) as refused:
        load_mappings(tmp_path, known_purposes=["analytics", "marketing"])
    assert [(line, True)] == [
        (problem.line, True) for problem in refused.value.problems if says in f"{problem.what} {problem.expected}"
    ], refused.value.problems


def test_asking_for_consent_reads_the_files_again_and_not_asking_changes_no_hash(tmp_path: Path) -> None:
    (plain,) = read(tmp_path, GOOD)
    (asking,) = read(tmp_path, GOOD.replace("        columns:\n", f"{ASK}        columns:\n"))
    hashes = [one.feeds[0].hash_of(one.feeds[0].entities[0], "crm") for one in (plain, asking)]
    assert hashes[0] != hashes[1]
    assert "consent" not in plain.feeds[0].entities[0].model_dump(exclude_none=True)
    assert asking.feeds[0].entities[0].asked[""].purposes == ("analytics",)
