from pathlib import Path
from typing import Any

import pytest
import typer.testing

from supernet.cli import app
from supernet.datasets import load_mnist
from supernet.errors import SettingsError
from supernet.experiments.settings import (
    COUNTS,
    PACKAGED,
    PRESETS,
    Settings,
    make_settings,
    resolve_settings,
    to_options,
    to_yaml,
)


def yaml_file(folder: Path, text: str) -> Path:
    path = folder / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_command_line_goes_before_the_file_and_the_file_before_the_preset(
    tmp_path: Path,
) -> None:
    config = yaml_file(tmp_path, "epochs: 5\nbatch_size: 17\n")
    settings = resolve_settings("quick", config, {"epochs": 7})
    assert (settings.recipe.epochs, settings.recipe.batch_size) == (7, 17)
    assert settings.data.train_images == PRESETS["quick"]["train_images"]
    assert settings.recipe.momentum == 0.9


@pytest.mark.parametrize("preset", PRESETS)
def test_settings_written_as_yaml_come_back_whatever_the_preset(
    preset: str, tmp_path: Path
) -> None:
    settings = resolve_settings(preset, None, {"weight_decay": 1e-5, "data": "a folder: é"})
    config = yaml_file(tmp_path, to_yaml(settings))
    for other in PRESETS:
        assert resolve_settings(other, config) == settings


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    config = yaml_file(tmp_path, "# nothing yet\n")
    assert resolve_settings("quick", config) == resolve_settings("quick")


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("epochs", 0, "greater than or equal to 1"),
        ("epochs", -1, "greater than or equal to 1"),
        ("epochs", 2.5, "integer"),
        ("epochs", "3", "integer"),
        ("epochs", True, "integer"),
        ("epochs", None, "integer"),
        ("epochs", [1], "integer"),
        ("learning_rate", 0.0, "greater than 0"),
        ("learning_rate", -0.1, "greater than 0"),
        ("learning_rate", float("nan"), "finite number"),
        ("standalone_rate", float("inf"), "finite number"),
        ("momentum", 1.0, "less than 1"),
        ("weight_decay", float("nan"), "finite number"),
        ("nesterov", "yes", "boolean"),
        ("schedule", "cosine", "'one-cycle' or 'constant'"),
        (
            "sampler",
            "greedy",
            "every, uniform, uniform options, fair, sandwich, shrinking, subtree or",
        ),
        ("order", "", "at least 1 character"),
        ("largest_first", 1.0, "less than 1"),
        ("clip_norm", 0.0, "greater than 0"),
        ("label_smoothing", 1.0, "less than 1"),
        ("ema", 1.0, "less than 1"),
        ("crop", -1, "greater than or equal to 0"),
        ("net_arg", "width=1", "tuple"),
        ("seed", -1, "greater than or equal to 0"),
        ("workers", 0, "greater than or equal to 1"),
        ("data", 7, "string"),
    ],
)
def test_an_impossible_value_is_named_with_what_is_allowed(
    name: str, value: Any, allowed: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        resolve_settings("quick", None, {name: value})
    assert str(caught.value).startswith(f"{name} is {value!r}: ")
    assert allowed in str(caught.value)


def test_text_that_was_meant_as_a_number_gets_a_hint(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"learning_rate is '1e-3': .*write 1\.0e-3"):
        resolve_settings("quick", yaml_file(tmp_path, "learning_rate: 1e-3"))


def test_every_impossible_value_is_named() -> None:
    with pytest.raises(SettingsError, match=r"epochs is 0.*; batch_size is 0"):
        resolve_settings("quick", None, {"epochs": 0, "batch_size": 0})


def test_an_unknown_setting_is_named_with_those_there_are() -> None:
    with pytest.raises(SettingsError, match=r"'epoch'; did you mean epochs\? There are data, "):
        resolve_settings("quick", None, {"epoch": 3})


def test_an_unknown_preset_is_named_with_those_there_are() -> None:
    with pytest.raises(SettingsError, match="no preset 'fast'; choose one of quick, standard"):
        resolve_settings("fast")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"batch_size": 64, "train_images": 32}, "a batch of 64 is larger than the training data"),
        ({"momentum": 0.0}, "nesterov is True; it must be False where momentum is 0"),
        ({"sampler": "fair", "compile": True}, "the sampler fair draws others; use every"),
        ({"sampler": "split", "distill": True}, "with the sampler split nothing can be distilled"),
        ({"sampler": "sandwich", "paths": 1}, "sandwich needs at least 2 paths"),
    ],
)
def test_settings_that_contradict_each_other_are_an_error(
    changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(SettingsError, match=sentence):
        resolve_settings("quick", None, changes)


@pytest.mark.parametrize(
    "text",
    [
        "- 1\n- 2",
        "3: 4",
        "just text",
        "epochs: [",
        "[" * 3000,
        "a: !!python/object/apply:os.getcwd []",
        "2020-99-99",
        "\0",
    ],
)
def test_a_file_that_holds_no_settings_is_named_in_one_line(text: str, tmp_path: Path) -> None:
    config = yaml_file(tmp_path, text)
    with pytest.raises(SettingsError) as caught:
        resolve_settings("quick", config)
    assert str(config) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_missing_or_a_folder_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(SettingsError, match="can't be read"):
            resolve_settings("quick", path)


def test_a_bomb_of_aliases_is_shown_in_part_only(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]" for i in range(12)]
    config = yaml_file(tmp_path, "\n".join([*lines, "epochs: *a12"]))
    with pytest.raises(SettingsError) as caught:
        resolve_settings("quick", config)
    assert "epochs is [[" in str(caught.value)
    assert len(str(caught.value)) < 20_000


def test_settings_can_be_a_key_and_never_change() -> None:
    settings = resolve_settings("quick")
    assert {settings: 1}[resolve_settings("quick")] == 1
    with pytest.raises(ValueError, match="frozen"):
        settings.run = settings.run


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"train_images": None},
        {"longer": True, "nesterov": False, "seeds": 3},
        {"sampler": "shrinking", "order": "block2*,*", "largest_first": 0.1, "distill": True},
        {"clip_norm": 2.5, "ema": 0.99, "label_smoothing": 0.1},
        {"crop": 2, "flip": True, "cutout": 8},
        {"data": "-it's a folder", "learning_rate": 1e-5, "sampler": "uniform", "workers": 2},
    ],
)
def test_options_made_from_settings_ask_for_these_settings(
    preset: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = resolve_settings(preset, None, changes)
    asked: list[Settings] = []
    monkeypatch.setattr(
        app, "_run", lambda command, preset, settings, *_, **__: asked.append(settings)
    )
    done = typer.testing.CliRunner().invoke(app.app, ["compare", *to_options(settings)])
    assert done.exit_code == 0, done.output
    assert asked == [settings]


def test_options_leave_out_what_the_preset_says_already() -> None:
    for preset in PRESETS:
        assert to_options(resolve_settings(preset)) == [f"--preset={preset}"]


def test_a_change_does_not_make_another_preset_closer() -> None:
    changed = to_options(resolve_settings("quick"), seeds=3, longer=True, epochs=1)
    assert changed == ["--preset=quick", "--epochs=1", "--longer", "--seeds=3"]
    one = resolve_settings("standard", None, {"seeds": 1})
    assert to_options(one) == ["--preset=standard", "--seeds=1"]
    assert to_options(one, seeds=3) == ["--preset=standard"]


@pytest.mark.parametrize("name", COUNTS)
def test_all_can_be_said_for_a_count(name: str, tmp_path: Path) -> None:
    config = tmp_path / "settings.yaml"
    config.write_text(f"{name}: all\n")
    for settings in (
        resolve_settings("quick", None, {name: "all"}),
        resolve_settings("quick", config),
        make_settings({"data": {name: "all"}}),
    ):
        assert getattr(settings.data, name) is None
        assert settings.flat()[name] == "all"
        assert make_settings(settings.flat()) == settings
        config.write_text(to_yaml(settings))
        assert resolve_settings("quick", config) == settings
    options = to_options(resolve_settings("original", None, {name: "all", "epochs": 7}))
    assert (f"--{name.replace('_', '-')}=all" in options) == (name != "train_images")
    assert getattr(make_settings({name: "170"}).data, name) == 170  # as a command line has it
    for wrong in ("some", "-3", 0, 2.5, True, "all of them"):
        with pytest.raises(SettingsError, match=f"{name} is "):
            make_settings({name: wrong})


def test_what_a_preset_counts_is_a_most_and_what_is_asked_for_is_not(tmp_path: Path) -> None:
    config = tmp_path / "settings.yaml"
    for content in ("train_images: 100\n", "data: {train_images: 100}\n"):
        config.write_text(content)
        assert "train_images" not in resolve_settings("quick", config).data.at_most
    assert resolve_settings("quick").data.at_most == set(COUNTS)
    asked = resolve_settings("quick", None, {"calibration_images": 1000})
    assert asked.data.at_most == {"train_images", "validation_images"}
    assert asked == resolve_settings("quick")
    made = make_settings({"epochs": 3, "train_images": 400})
    assert made.data.at_most == set(COUNTS) - {"train_images"}


def test_the_packaged_mnist_has_as_many_training_images_as_is_said() -> None:
    assert len(load_mnist().train) == PACKAGED
