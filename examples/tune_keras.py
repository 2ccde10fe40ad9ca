"""Tune a network of Keras: python examples/tune_keras.py."""

import keras
from sklearn.datasets import make_moons

import rosenblatt

X, y = make_moons(400, noise=0.2, random_state=0)


def train(params, run):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(params["units"], "relu"), keras.layers.Dense(1, "sigmoid")]
    model = keras.Sequential([keras.layers.Input((2,)), *layers])
    model.compile(keras.optimizers.Adam(params["lr"]), "binary_crossentropy")
    model.fit(X, y, epochs=5, validation_split=0.25, verbose=0, callbacks=[run.keras_callback()])


space = {"lr": rosenblatt.log_uniform(1e-3, 1e-1), "units": rosenblatt.integer(4, 32)}
result = rosenblatt.tune(train, space, trials=3, metric="val_loss")
print(result.best.params, result.best.score)
