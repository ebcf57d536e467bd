"""Models as files: whole, numbered, never changed."""

import json
from dataclasses import replace

import pytest

from segmentation.errors import NotFoundError, StrataError
from segmentation.identity.matching.model_files import fingerprint, list_versions, load_model, save_model


def test_a_model_is_read_as_it_was_written(register, tmp_path):
    path, written = save_model(register.model, tmp_path)
    assert (path.name, written.version) == ("model-v1.json", 1)
    found = load_model(tmp_path, 1)
    assert found == written
    assert list(found.kinds) == list(register.model.kinds)
    assert fingerprint(found) == fingerprint(register.model)


def test_versions_follow_each_other_and_the_same_model_is_the_same_version(register, tmp_path):
    first, _ = save_model(register.model, tmp_path)
    before = first.read_bytes()
    again, model = save_model(register.model, tmp_path)
    assert (again, model.version) == (first, 1)
    other = replace(register.model, keys=register.model.keys[:-1])
    assert save_model(other, tmp_path)[1].version == 2
    # The newest version decides: what was in force before the other one is a version of its own again.
    assert save_model(register.model, tmp_path)[1].version == 3
    assert list_versions(tmp_path) == [1, 2, 3]
    assert first.read_bytes() == before
    assert not list(tmp_path.glob(".*"))


def test_two_trainings_at_once_give_two_versions(register, tmp_path, monkeypatch):
    other = replace(register.model, keys=register.model.keys[:-1])
    plain = type(tmp_path).hardlink_to
    raced = []

    def late(path, target):
        if not raced:
            raced.append(path)
            save_model(other, tmp_path)
        return plain(path, target)

    monkeypatch.setattr(type(tmp_path), "hardlink_to", late)
    _, model = save_model(register.model, tmp_path)
    assert model.version == 2
    assert fingerprint(load_model(tmp_path, 1)) == fingerprint(other)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: json.dumps({**json.loads(text), "prior": 0.3}),
        lambda text: json.dumps({**json.loads(text), "version": 2}),
        lambda text: json.dumps({key: value for key, value in json.loads(text).items() if key != "weights"}),
        lambda _text: "[]",
    ],
)
def test_a_model_that_was_edited_is_refused(register, tmp_path, damage):
    path, _ = save_model(register.model, tmp_path)
    path.write_text(damage(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(StrataError, match="damaged or was edited"):
        load_model(tmp_path, 1)


def test_a_model_of_other_comparisons_is_refused(register, tmp_path):
    path, _ = save_model(register.model, tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), "kinds_version": 0}), encoding="utf-8")
    with pytest.raises(StrataError, match="other comparisons"):
        load_model(tmp_path, 1)


def test_a_version_that_was_never_trained_is_not_known(register, tmp_path):
    save_model(register.model, tmp_path)
    with pytest.raises(NotFoundError, match="no matching model 7") as caught:
        load_model(tmp_path, 7)
    assert "a trained version: 1" in str(caught.value)


def test_a_model_holds_no_value_that_few_records_have(register, own, tmp_path):
    path, _ = save_model(register.model, tmp_path)
    text = path.read_text(encoding="utf-8")
    names = register.model.kinds
    addresses = [name for name, kind in names.items() if kind in {"email", "phone", "birth_date"}]
    assert addresses
    for name in addresses:
        for (value,) in own.execute(f"select distinct {name} from records where {name} is not null").fetchall():
            assert str(value) not in text
