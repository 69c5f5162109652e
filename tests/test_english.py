"""Laws about words: American spelling, and none of the phrases that cost a reader time."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

#: Spellings that PyTorch and its users don't use.
BRITISH = re.compile(
    r"colour|behaviour|neighbour|favour|honour|\bcentred?\b|\bgrey|licence|artefact|learnt|spoilt"
    r"|label(led|ling)\b|modell(ed|ing)|(normal|optim|initial|recogn|summar|serial|general|organ"
    r"|minim|maxim|random|quant|regular|synchron)is(e|ed|er|es|ing|ation)\b",
    re.IGNORECASE,
)
#: Phrases that have a plain word: again, resume, result, more costly.
PHRASES = re.compile(
    r"\banew\b|\btak(e|en|es|ing) up (again|where|anywhere)|came of it\b|\bin company\b"
    r"|so long ago as|reader who has gone|\bdearer\b",
    re.IGNORECASE,
)
FILES = [
    path
    for folder, pattern in {
        "src": "**/*.*",
        "tests": "**/*.py",
        "benchmarks": "**/*.py",
        "docs": "*.md",
        ".": "*.md",
    }.items()
    for path in sorted((ROOT / folder).glob(pattern))
    if path.suffix in {".py", ".md", ".html"} and path != Path(__file__).resolve()
]


@pytest.mark.parametrize("law", [BRITISH, PHRASES], ids=["spelling", "phrases"])
def test_words(law: re.Pattern[str]) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {match[0]}"
        for path in FILES
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if (match := law.search(line))
    ]
    assert found == []


@pytest.mark.parametrize("word", ["colour", "normalised", "labelled", "a grey one", "optimiser"])
def test_the_search_finds_british_words(word: str) -> None:
    assert BRITISH.search(word)
