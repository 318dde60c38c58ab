"""What simple classifiers make of features, cross-validated by squares in space."""

from typing import Any

import numpy as np
import numpy.typing as npt

from .samples import Samples

__all__ = ["balanced_accuracy", "make_classifiers", "score"]

Array = npt.NDArray[Any]

NEIGHBOURS = 10
"""Of a vote, weighted by their cosine."""


def make_classifiers() -> dict[str, Any]:
    """Make a linear classifier and a vote of nearest neighbours, both of scikit-learn."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer, StandardScaler

    vote = KNeighborsClassifier(NEIGHBOURS, weights="distance")
    return {
        "linear": make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, C=0.1)),
        "neighbours": make_pipeline(StandardScaler(), Normalizer(), vote),
    }


def score(values: Array, samples: Samples, seed: int = 0, bar: Any = None) -> dict[str, float]:
    """Cross-validate the classifiers on some features.

    Parameters
    ----------
    values
        (n, features).
    samples
        Their labels and blocks.
    seed
        Of the division of blocks into folds.
    bar
        Progress bar that counts folds.

    Returns
    -------
    dict
        ``features``, their number, and balanced accuracies in percent.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    cut = StratifiedGroupKFold(samples.folds, shuffle=True, random_state=seed)
    accuracies: dict[str, list[float]] = {name: [] for name in make_classifiers()}
    for train, test in cut.split(values, samples.labels, samples.blocks):
        if bar is not None:
            bar.update(1)
        if len(np.unique(samples.labels[train])) < 2 or not len(test):
            continue
        for name, classifier in make_classifiers().items():
            guess = classifier.fit(values[train], samples.labels[train]).predict(values[test])
            accuracies[name].append(100 * balanced_accuracy(samples.labels[test], guess))
    result: dict[str, float] = {"features": values.shape[1]}
    for name, shares in accuracies.items():
        result[name] = float(np.mean(shares))
        result[f"{name}_std"] = float(np.std(shares))
    return result


def balanced_accuracy(truth: Array, guess: Array) -> float:
    """Mean over the classes of a fold of the share that was recognised."""
    return float(np.mean([(guess[truth == label] == label).mean() for label in np.unique(truth)]))
