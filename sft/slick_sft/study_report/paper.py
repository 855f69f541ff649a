"""The paper's numbers, each as it stands there: Gekhman et al., EMNLP 2024, arXiv 2405.05904 (v3).

Accuracies and shares are fractions. What was read off a plot is good to 0.1 points (accuracies) or 1 (training curves).
"""

from __future__ import annotations

from collections.abc import Mapping

SOURCE = "Gekhman et al., EMNLP 2024, arXiv 2405.05904 (v3)"

# Share of Unknown rows in percent → test accuracy, read off a plot.
SHARES: Mapping[str, Mapping[int, float]] = {
    "early_stop": {0: 0.439, 10: 0.438, 25: 0.439, 50: 0.430, 75: 0.420, 90: 0.397, 100: 0.375},
    "convergence": {0: 0.426, 10: 0.422, 25: 0.412, 50: 0.388, 75: 0.365, 90: 0.317, 100: 0.258},
}
# The same sets without their Unknown rows (D_Known), read off a plot.
WITHOUT: Mapping[str, Mapping[int, float]] = {
    "early_stop": {10: 0.437, 25: 0.432, 50: 0.430, 75: 0.419, 90: 0.405},
    "convergence": {10: 0.424, 25: 0.423, 50: 0.415, 75: 0.407, 90: 0.396},
}
# Epoch → (share of Known, share of Unknown rows fitted) at 50 % Unknown, read off a plot.
CURVE: Mapping[int, tuple[float, float]] = {
    1: (0.59, 0.01),
    5: (0.73, 0.04),
    10: (0.83, 0.15),
    20: (0.93, 0.55),
    30: (0.97, 0.80),
    40: (0.995, 0.96),
    50: (1.0, 1.0),
}
# Variant → test accuracy on all facts, HighlyKnown, MaybeKnown, WeaklyKnown and Unknown ones.
SINGLE: Mapping[str, Mapping[str, tuple[float, float, float, float, float]]] = {
    "early_stop": {
        "only-HighlyKnown": (0.405, 0.987, 0.601, 0.090, 0.006),
        "only-MaybeKnown": (0.436, 0.984, 0.699, 0.121, 0.010),
        "only-WeaklyKnown": (0.392, 0.950, 0.592, 0.086, 0.004),
        "only-Unknown": (0.375, 0.956, 0.529, 0.065, 0.006),
        "natural": (0.435, 0.980, 0.676, 0.141, 0.018),
    },
    "convergence": {
        "only-HighlyKnown": (0.400, 0.984, 0.588, 0.085, 0.007),
        "only-MaybeKnown": (0.432, 0.975, 0.682, 0.129, 0.013),
        "only-WeaklyKnown": (0.354, 0.735, 0.558, 0.172, 0.022),
        "only-Unknown": (0.258, 0.558, 0.366, 0.122, 0.032),
        "natural": (0.418, 0.955, 0.617, 0.148, 0.025),
    },
}
# Split → coefficients of accuracy = b0 + b_kn · N_kn/|D| + b_unk · N_unk/|D|, and R².
MODEL: Mapping[str, Mapping[str, float]] = {
    "test": {"b0": 0.369, "b_kn": 0.073, "b_unk": -0.083, "r2": 0.86},
    "ood": {"b0": 0.362, "b_kn": 0.032, "b_unk": -0.030, "r2": 0.95},
}
# Stage → accuracy of the answered and share answered, at 50 % Unknown: as it is, and with "I don't know" for Unknown.
IDK: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "early_stop": {"plain": (0.430, 1.0), "idk": (0.618, 0.587)},
    "convergence": {"plain": (0.388, 1.0), "idk": (0.618, 0.556)},
}
# The share of test facts that SliCK calls Unknown, and the accuracy on them after tuning on the natural mix.
TRUTH: Mapping[str, float] = {"share": 0.330, "early_stop": 0.018, "convergence": 0.025}
