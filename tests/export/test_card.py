from typing import Any

import yaml
from torch import nn

from supernet.export.card import Config, Facts, InputRecord, ScoreRecord, write_card
from supernet.export.describing import describe
from supernet.export.tidying import tidy
from supernet.records import Estimate

SCORE = ScoreRecord(
    name="accuracy",
    estimate=Estimate(value=0.9876, low=0.98, high=0.99),
    images=10000,
    split="test",
)
FACTS = Facts(
    options={"block1.depth": 2},
    params=1234,
    macs=5678,
    weights="with weights inherited from a supernet",
    calibration_images=1000,
    scores=[SCORE],
    data="MNIST",
    data_sha256={"a-file": "f" * 64},
    seed=3,
    command="supernet extract runs/x --best",
    verdict=["The ranking can be trusted."],
)


def card(facts: Facts) -> str:
    network = describe(tidy(nn.Linear(2, 2)))
    shape = InputRecord(shape=(1, 28, 28), mean=[0.1], std=[0.3])
    config = Config(input=shape, classes=["a", "b"], facts=facts, sha256={}, network=network)
    return write_card(config, "mine")


def head_of(text: str) -> dict[str, Any]:
    head: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return head


def test_everything_that_is_known_is_said() -> None:
    text = card(FACTS)
    for part in (
        "block1.depth=2", "1,234", "5,678", "inherited from a supernet", "1,000 training images",
        "0.9876 (95 % interval 0.9800 to 0.9900)", "MNIST", "f" * 64, "supernet extract runs/x",
        "> The ranking can be trusted.",
    ):  # fmt: skip
        assert part in text


def test_what_isnt_known_isnt_mentioned() -> None:
    text = card(Facts())
    assert "None" not in text
    assert "model-index" not in head_of(text)


def test_the_hub_finds_the_score() -> None:
    (entry,) = head_of(card(FACTS))["model-index"]
    (result,) = entry["results"]
    assert result["metrics"][0]["value"] == 0.9876
    assert result["dataset"] == {"type": "mnist", "name": "MNIST"}


def test_names_from_strangers_are_text() -> None:
    text = card(FACTS.model_copy(update={"data": "<img src=x>\n---\n| a | `b`", "scores": []}))
    assert "<img" not in text
    assert head_of(text)["library_name"] == "pytorch"
    assert "| data | &lt;img src=x> --- \\| a \\| 'b' |" in text
