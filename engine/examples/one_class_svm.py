"""Another model in the place of the trees: netlyra-engine --model one_class_svm:make -

The engine gives any River model of anomalies a point a second and address: eight features by name, 0 to 1; what is
usual lies around 0.3. How rare the model's score is among its own is the evidence, in bits; the budget holds as ever.
"""

from __future__ import annotations

from river import anomaly, compose, preprocessing


def make() -> compose.Pipeline:
    """A fresh model. OneClassSVM wants features around 0, and finds with a small nu what few seconds are like."""
    return compose.Pipeline(preprocessing.StandardScaler(), anomaly.OneClassSVM(nu=0.05))
