"""Modules that wait until something in them is asked for, and what Great Expectations does without them."""

import subprocess
import sys
from pathlib import Path

import pytest

from expectations.deferred import defer


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    package = tmp_path / "waiting_for_a_question"
    package.mkdir()
    (package / "__init__.py").write_text("answer = 42\n")
    (package / "part.py").write_text("whole = 7\n")
    monkeypatch.syspath_prepend(tmp_path)
    # Taken out again at the end, with its parts.
    for name in (package.name, f"{package.name}.part"):
        monkeypatch.setitem(sys.modules, name, None)
        del sys.modules[name]
    return package.name


def test_importing_a_deferred_module_does_not_load_it(module: str) -> None:
    defer(module)
    waiting = __import__(module)
    assert "answer" not in vars(waiting)
    assert waiting.answer == 42
    assert sys.modules[module] is not waiting
    assert sys.modules[module].answer == 42
    with pytest.raises(AttributeError):
        _ = waiting.question


def test_a_part_of_a_deferred_module_can_be_imported(module: str) -> None:
    defer(module)
    __import__(f"{module}.part")
    assert sys.modules[f"{module}.part"].whole == 7
    assert sys.modules[module].answer == 42


def test_what_is_loaded_or_missing_stays_as_it_is() -> None:
    defer("json", "no_such_module_anywhere")
    assert sys.modules["json"] is __import__("json")
    assert "no_such_module_anywhere" not in sys.modules


def test_a_gate_loads_statistics_only_for_a_truth_about_a_distribution() -> None:
    script = """
import sys, duckdb
from expectations.bridge import validate
from expectations.truths import Suite, Truth, has_rows
con = duckdb.connect()
con.execute("create schema sources")
con.execute("create table sources.coins as select if(i % 2 = 0, 'a', 'b') as side from range(100) as r(i)")
plain = Suite("sources", (has_rows("there_are_coins", "coins", repair="-"),))
assert validate(con, plain).passed
assert "scipy.stats._stats_py" not in sys.modules and "altair.vegalite" not in sys.modules
even = {"values": ["a", "b"], "weights": [0.5, 0.5]}
kwargs = {"column": "side", "partition_object": even, "threshold": 0.1}
truth = Truth("coins_are_fair", "coins", "expect_column_kl_divergence_to_be_less_than", kwargs, "-", "-")
found = validate(con, Suite("sources", (truth,)))
assert found.passed, found
assert "scipy.stats._stats_py" in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
