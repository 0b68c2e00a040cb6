"""A codebook drafted from verified documents, for a person to edit."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

from label_configs.codebook import Codebook
from label_configs.codes import Code, Kind, is_key, key_from, printable
from label_configs.errors import ConfigError
from label_configs.strictyaml import dump_yaml
from ml_backend.atomic import write_atomically
from ml_backend.row_report import OnError, RowProblem, RowReport, reporting
from ml_backend.rows import place, read_rows
from trainer.bulk.results import BETWEEN

FEW = 5  # documents: a code with fewer can hardly be learned, and not be judged
MOST_CODES = 1000  # more distinct values than this are texts or identifiers, not codes
WORDS = 8  # words told of each code
VOCABULARY = 20_000  # words looked at, the most frequent ones
PRIOR = 1000.0  # words that the prior weighs


@dataclass(frozen=True)
class Draft:
    """The codebook as written, from so many documents, and what is doubtful about it."""

    codebook: Codebook
    documents: int
    warnings: tuple[str, ...]


def draft_codebook(
    path: Path,
    out: Path,
    *,
    code_column: str = "code",
    text_column: str = "text",
    name: str | None = None,
    encoding: str | None = None,
    on_error: OnError = OnError.STOP,
) -> Draft:
    """Write a codebook with one code for each value of ``code_column``, the most frequent first.

    Rows with several codes (split at ``|``, or a list) make it a multilabel one. Raises ConfigError for a file with
    malformed rows, unless they are to be skipped, for values that make no codebook, and where ``out`` is there already.
    """
    if out.suffix.lower() not in (".yaml", ".yml"):
        raise ConfigError(f"--out {out}: a codebook is drafted as YAML; name it .yaml")
    if out.exists():
        raise ConfigError(f"--out {out}: is there already; name another file, or remove it")
    columns = {"--code-column": code_column, "--text-column": text_column}
    coded, skipped = _Coded(), out.with_name(f"{out.name}.skipped.csv")
    with reporting(on_error, skipped) as report:
        words = _typical_words(_texts(path, columns, encoding, report, coded), coded)
    if not coded.rows:
        raise ConfigError(f"{path}: no documents with a code in {code_column!r}; name the column with --code-column")
    documents = Counter(code for row in coded.rows for code in row)
    kind = Kind.MULTILABEL if any(len(row) > 1 for row in coded.rows) else Kind.EXCLUSIVE
    found = [code for code, _ in sorted(documents.items(), key=lambda pair: (-pair[1], pair[0]))]
    keys = _keys(path, found)
    codes = [Code(keys[code], code, _definition(words.get(code, ())), code.lower()) for code in found]
    codebook = Codebook(name or out.stem, kind, tuple(codes))
    write_atomically(out, _yaml(codebook, path, [documents[code] for code in found], len(coded.rows)))
    few = [
        f"code {code!r} has {documents[code]} documents, too few to learn it; find more, or merge it with another"
        for code in found
        if documents[code] < FEW
    ]
    left_out = [f"{report.count} rows of {path} are left out, see {skipped}"] if report.count else []
    return Draft(codebook, len(coded.rows), tuple(left_out + few))


class _Coded:
    """The codes of each document read so far."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, ...]] = []
        self._names: dict[str, str] = {}  # each code's name once, however many documents have it

    def add(self, codes: Iterable[str]) -> None:
        self.rows.append(tuple(self._names.setdefault(code, code) for code in codes))

    @property
    def distinct(self) -> int:
        return len(self._names)


def _texts(
    path: Path, columns: Mapping[str, str], encoding: str | None, report: RowReport, coded: _Coded
) -> Iterator[str]:
    """The texts of the documents that have codes, which go to ``coded``; all other rows go to ``report``."""
    code_column, text_column = columns.values()
    for row in read_rows(path, columns, encoding=encoding):
        if isinstance(row, RowProblem):
            report.add(row)
            continue
        codes, text = _codes(row.values.get(code_column)), row.values.get(text_column)
        if not codes:
            report.add(RowProblem(place(path, row.number), f"no code in {code_column!r}"))
        elif not isinstance(text, str) or not text.strip():
            report.add(RowProblem(place(path, row.number), f"no text in {text_column!r}"))
        else:
            coded.add(codes)
            if coded.distinct > MOST_CODES:
                raise ConfigError(
                    f"{place(path, row.number)}: more than {MOST_CODES} different codes so far; name the column that "
                    "has the codes with --code-column"
                )
            yield text


def _codes(value: Any) -> list[str]:
    """A cell's codes, in order and each once; empty where there is none."""
    parts = value if isinstance(value, list) else str(value).split(BETWEEN) if isinstance(value, str | int) else []
    return list(dict.fromkeys(code for part in parts if (code := " ".join(str(part).split()))))


def _keys(path: Path, codes: Sequence[str]) -> dict[str, str]:
    """A key for each code: itself where it can be one, so that the file's values stay what they are."""
    keys: dict[str, str] = {}
    taken: set[str] = set()
    folded: dict[str, str] = {}
    for number, code in enumerate(codes, 1):
        before = folded.setdefault(code.casefold(), code)
        if before != code:
            raise ConfigError(f"{path}: the codes {before!r} and {code!r} differ in their case alone; write them alike")
        wanted = code if is_key(code) else key_from(code) or f"code-{number}"
        numbered = chain([wanted], (f"{wanted}-{n}" for n in count(2)))
        keys[code] = next(key for key in numbered if key.casefold() not in taken)
        taken.add(keys[code].casefold())
    return keys


def _definition(words: Sequence[str]) -> str:
    typical = f" Typical words: {', '.join(words)}." if words else ""
    return f"TO BE WRITTEN: when does a document get this code, and when not?{typical}"


def _typical_words(texts: Iterable[str], coded: _Coded) -> dict[str, list[str]]:
    """For each code the words that are most over-represented in its documents.

    By the z-score of the log-odds ratio with an informative Dirichlet prior, the words' frequencies in all documents:
    Monroe, Colaresi and Quinn (2008), "Fightin' Words", Political Analysis 16, equations 16 and 22.
    """
    import numpy as np
    from scipy.sparse import csr_array
    from sklearn.feature_extraction.text import CountVectorizer

    vectorizer = CountVectorizer(token_pattern=r"[^\W\d_]{3,}", max_features=VOCABULARY)  # nosec B106 # a pattern
    try:
        counts = vectorizer.fit_transform(texts)  # [documents, words]
    except ValueError:  # no text has a word
        return {}
    names = vectorizer.get_feature_names_out()
    codes = list(dict.fromkeys(code for row in coded.rows for code in row))
    place_of = {code: index for index, code in enumerate(codes)}
    pairs = [(place_of[code], document) for document, row in enumerate(coded.rows) for code in row]
    members = csr_array((np.ones(len(pairs)), tuple(zip(*pairs, strict=True))), shape=(len(codes), len(coded.rows)))
    everywhere = np.asarray(counts.sum(axis=0), dtype=float).ravel()
    prior = PRIOR * everywhere / everywhere.sum()
    found = {}
    for code, row in zip(codes, members @ counts, strict=True):
        here = row.toarray().ravel() + prior
        elsewhere = everywhere - here + 2 * prior
        odds = np.log(here / (here.sum() - here)) - np.log(elsewhere / (elsewhere.sum() - elsewhere))
        z = odds / np.sqrt(1 / here + 1 / elsewhere)
        found[code] = [str(names[index]) for index in np.argsort(-z, kind="stable")[:WORDS] if z[index] > 0]
    return found


def _yaml(codebook: Codebook, path: Path, counts: Sequence[int], documents: int) -> str:
    """The codebook with what a person should know of it as comments."""
    head = dump_yaml({"name": codebook.name, "kind": codebook.kind.value})
    lines = [
        f"# Drafted from {documents} documents of {printable(path.name)}. Write the definitions: models read them too.",
        "# `word` is what a language model answers with: short, and different for every code.",
        f"{head}# instruction: the question to coders and models, such as What is this document mainly about?",
        "codes:",
    ]
    for code, documents_of in zip(codebook.codes, counts, strict=True):
        entry = {"key": code.key, "name": code.name, "definition": code.definition, "word": code.word}
        lines.append(f"  # {documents_of} documents{', too few to learn it' if documents_of < FEW else ''}")
        lines.append(textwrap.indent(dump_yaml([entry]), "  ", lambda _: True).rstrip())
    return "\n".join(lines) + "\n"
