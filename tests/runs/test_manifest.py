import platform
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from supernet.experiments.settings import resolve_settings
from supernet.records import Manifest
from supernet.runs.environment import code_sha256, commit, hardware, versions
from supernet.runs.manifest import differences, make_manifest

SETTINGS = resolve_settings("quick").flat()


def manifest(**changes: Any) -> Manifest:
    made = make_manifest(
        "compare",
        arguments="supernet compare --preset=quick",
        preset="quick",
        settings=SETTINGS,
        data_sha256={"images": "0" * 64, "labels": "1" * 64},
    )
    return made.model_copy(update=changes)


def test_it_says_what_runs_where() -> None:
    made = manifest()
    assert made.versions == versions()
    assert made.hardware == hardware()
    assert (made.code_sha256, made.commit) == (code_sha256(), commit())
    assert (made.host, made.schema_version) == (platform.node(), 1)
    assert made.settings == SETTINGS
    assert datetime.now(UTC) - datetime.fromisoformat(made.created) < timedelta(minutes=1)


def test_it_survives_json() -> None:
    made = manifest()
    again = Manifest.model_validate_json(made.model_dump_json())
    assert again == made
    assert differences(made, again) == []
    for key, value in made.settings.items():  # 1 and 1.0 and true are equal, but not the same
        assert type(again.settings[key]) is type(value)


def test_nothing_differs_from_itself() -> None:
    assert differences(manifest(), manifest()) == []


FREE = {"workers": 7, "data": "/elsewhere"}


def test_every_setting_counts_but_where_it_runs() -> None:
    settings = manifest().settings
    assert FREE.keys() <= settings.keys()
    for name, value in settings.items():
        for now in (FREE.get(name, 12345), None if value is not None else 0):
            found = differences(manifest(), manifest(settings={**settings, name: now}))
            assert found == ([] if name in FREE else [f"{name}: {value} then, {now} now"])


@pytest.mark.parametrize(
    ("changes", "sentences"),
    [
        ({"command": "train"}, ["command: compare then, train now"]),
        (
            {"data_sha256": {"images": "2" * 64, "more": "3" * 64}},
            [
                f"data file images: {'0' * 64} then, {'2' * 64} now",
                f"data file labels: {'1' * 64} then, none now",
                f"data file more: none then, {'3' * 64} now",
            ],
        ),
        (
            {"versions": {**versions(), "torch": "1.0", "python": "2.7"}},
            [
                f"version of torch: {versions()['torch']} then, 1.0 now",
                f"version of python: {versions()['python']} then, 2.7 now",
            ],
        ),
        (
            {"hardware": {**hardware(), "vector instructions": "none"}},
            [f"vector instructions: {hardware()['vector instructions']} then, none now"],
        ),
        ({"hardware": {}}, [f"vector instructions: {hardware()['vector instructions']} then, un"]),
        (
            {"code_sha256": "f" * 64, "commit": None},
            [f"the package's code: {code_sha256()[:12]}"],
        ),
        (
            {"code_sha256": "f" * 64, "versions": {**versions(), "supernet": "99"}},
            [f"version of supernet: {versions()['supernet']} then, 99 now"],
        ),
    ],
)
def test_what_could_change_a_result_is_named(changes: Any, sentences: list[str]) -> None:
    before, now = manifest(), manifest(**changes)
    found = differences(before, now)
    assert len(found) == len(sentences)
    for difference, sentence in zip(found, sentences, strict=True):
        assert difference.startswith(sentence)
    assert len(differences(now, before)) == len(sentences)


def test_code_is_named_with_its_commit() -> None:
    before = manifest(code_sha256="e" * 64, commit="abcdef" * 6 + "abcd+")
    now = manifest(code_sha256="f" * 64, commit=None)
    assert differences(before, now) == [
        "the package's code: eeeeeeeeeeee at commit abcdefabcdef then, ffffffffffff now"
    ]
    assert differences(before, before.model_copy(update={"commit": None})) == []


def test_all_differences_are_named_at_once() -> None:
    now = manifest(
        command="train", settings={**manifest().settings, "epochs": 99, "seed": 5}, data_sha256={}
    )
    assert [found.split(":")[0] for found in differences(manifest(), now)] == [
        *("command", "epochs", "seed", "data file images", "data file labels"),
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"host": "elsewhere"},
        {"created": "long ago"},
        {"arguments": "supernet resume run"},
        {"preset": "standard"},
        {"hardware": {**hardware(), "processor": "another", "cores": "64"}},
        {"settings": {**manifest().settings, **FREE}},
    ],
)
def test_what_changes_no_result_may_differ(changes: Any) -> None:
    assert differences(manifest(), manifest(**changes)) == []


def test_settings_that_only_one_knows_are_named() -> None:
    settings = dict(manifest().settings)
    del settings["epochs"]
    found = differences(manifest(), manifest(settings={**settings, "new": 1}))
    assert found == ["epochs: 3 then, none now", "new: none then, 1 now"]
