"""Compare default fits of sparse word counts with scikit-learn's MLP and our perceptron, by time and accuracy.

    python benchmarks/texts.py
    python benchmarks/texts.py --documents 1000 --columns 20000 --json

Documents of 60 words, of which three in ten depend on one of four topics, are made at random and converted to a sparse
matrix by TfidfVectorizer. The peer is MLPClassifier with early stopping. Accuracy is that on a fifth of the documents.
The peak memory is that of a process of its own, and includes the libraries.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import time
import warnings
from typing import Any

import numpy as np
from common import make_parser, make_table
from rich.console import Console
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.neural_network import MLPClassifier

import rosenblatt

TOPICS, WORDS = 4, 60
METHODS: dict[str, Any] = {
    "MLPClassifier": rosenblatt.MLPClassifier,
    "MLPClassifier, members=1": lambda: rosenblatt.MLPClassifier(members=1),
    "Perceptron": lambda: rosenblatt.Perceptron(numeric_encoding="none"),
    "scikit-learn": lambda: MLPClassifier(early_stopping=True, random_state=0),
}


def make_documents(n: int, n_words: int) -> tuple[list[str], np.ndarray]:
    """Make n documents and their topics."""
    rng = np.random.default_rng(0)
    frequency = 1 / np.arange(1, n_words + 1)
    frequencies = frequency * rng.gamma(0.5, 1, (TOPICS, n_words))
    probabilities = 0.3 * frequencies / frequencies.sum(axis=1, keepdims=True) + 0.7 * frequency / frequency.sum()
    topics, words = rng.integers(TOPICS, size=n), np.array([f"word{i}" for i in range(n_words)])
    return [" ".join(words[rng.choice(n_words, WORDS, p=probabilities[topic])]) for topic in topics], topics


def measure(queue: Any, method: str, n: int, n_columns: int) -> None:
    """Put the result of a method into a queue."""
    warnings.simplefilter("ignore")
    documents, topics = make_documents(n, n_columns)
    x, n_train = TfidfVectorizer().fit_transform(documents), n * 4 // 5
    METHODS[method]().fit(x[:40], topics[:40])  # so that reading machine code from disk is not measured
    model, started = METHODS[method](), time.perf_counter()
    model.fit(x[:n_train], topics[:n_train])
    fitted = time.perf_counter()
    accuracy = float(model.score(x[n_train:], topics[n_train:]))
    queue.put({
        "method": method, "table": f"{n_train:,} x {x.shape[1]:,}", "fit, s": fitted - started,
        "predict, s": time.perf_counter() - fitted, "accuracy": accuracy,
        "peak, MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    })  # fmt: skip


def main() -> None:
    parser = make_parser(__doc__ or "")
    parser.add_argument("--documents", type=int, default=4000)
    parser.add_argument("--columns", type=int, default=20_000, help="size of the vocabulary")
    arguments = parser.parse_args()
    context, rows = multiprocessing.get_context("spawn"), []
    for method in METHODS:
        queue = context.Queue()
        process = context.Process(target=measure, args=(queue, method, arguments.documents, arguments.columns))
        process.start()
        rows.append(queue.get())
        process.join()
    if arguments.json:
        print(json.dumps(rows))
        return
    table = make_table("default fits of documents", *rows[0])
    for row in rows:
        table.add_row(*(f"{value:.3g}" if isinstance(value, float) else value for value in row.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
