"""Whether the latents keep what labels tell apart: accuracies on test images with labels.

Shapes: images [N, H, W, C], uint8 or float32 in [0, 1]; labels int64 [N]; accuracies are fractions in [0, 1].
"""

import warnings
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tfvae.analysis.blocks import in_blocks, rows_together
from tfvae.analysis.latents import posterior_means
from tfvae.core import fast, noise
from tfvae.core.inputs import to_unit
from tfvae.core.keras_globals import float32_by_default
from tfvae.core.noise import Stream
from tfvae.core.vae import VAE
from tfvae.data.splits import Split

Accuracies = dict[str, dict[str, float]]  # by what is compared, then by method

_LABEL_COUNTS = (100, 1_000)  # of fine-tuning, beside all that there are
_BATCH_SIZE = 100


def features(vae: VAE, train: Split, test: Split) -> Accuracies:
    """Test accuracy of a linear probe (300 steps of L-BFGS) and 5 nearest neighbours on posterior means and pixels.

    Of vectors the latter are values, as the network scales them; missing ones are 0.
    """
    columns = vae.encoder.columns
    means = _probe(posterior_means(vae, train.array), posterior_means(vae, test.array), train, test)
    if columns is None:
        return {"posterior means": means, "pixels": _probe(to_unit(train.array), to_unit(test.array), train, test)}
    train_values, test_values = (np.nan_to_num(columns.scaled(split.array)) for split in (train, test))
    return {"posterior means": means, "values": _probe(train_values, test_values, train, test)}


def _probe(train_features: np.ndarray, test_features: np.ndarray, train: Split, test: Split) -> dict[str, float]:
    # fine-tuning, which shares this file, need not wait for scikit-learn
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    train_rows = train_features.reshape(len(train_features), -1)
    test_rows = test_features.reshape(len(test_features), -1)
    classifiers = {"logistic regression": LogisticRegression(max_iter=300), "5-NN": KNeighborsClassifier(5)}
    accuracies = {}
    for name, classifier in classifiers.items():
        with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
            classifier.fit(train_rows, train.labels)
        accuracies[name] = float(classifier.score(test_rows, test.labels))
    return accuracies


class _FineTuning:
    """An encoder like the VAE's with a linear head on the mean of q(z|x), trained on labelled images.

    Its first weights, the order of the images and the batches are functions of `seed`.
    """

    def __init__(self, vae: VAE, train: Split, seed: int, steps: int) -> None:
        self.seed, self.steps = seed, steps
        self.rows_together = rows_together(vae)
        self.classes, labels = np.unique(train.known_labels, return_inverse=True)
        self.encoder = type(vae.encoder).from_config({**vae.encoder.get_config(), "seed": seed})
        self.encoder.build()
        self.head = keras.layers.Dense(len(self.classes), kernel_initializer="zeros", dtype="float32")
        self.head.build((None, self.encoder.latent_dim))
        self.weights = self.encoder.trainable_variables + self.head.trainable_variables
        with float32_by_default():
            self.optimizer = keras.optimizers.Adam(1e-3)
            self.optimizer.build(self.weights)
        self.variables = [variable.value for variable in self.weights + self.optimizer.variables]
        self.first_values = [variable.numpy() for variable in self.variables]
        order = noise.permutation(len(labels), noise.seed_for(seed, Stream.SHUFFLE))
        self.images, self.labels = tf.constant(train.array[order]), tf.constant(labels[order])
        use_xla = fast.use_xla(vae.convolutional)
        self.train = tf.function(self._train, jit_compile=use_xla, autograph=False)

    def reset(self, encoder_weights: Sequence[keras.Variable] = ()) -> None:
        """Puts all variables back to their first values, but the encoder's to these, where there are some."""
        for variable, value in zip(self.variables, self.first_values):
            variable.assign(value)
        for variable, weight in zip(self.variables, encoder_weights):  # the encoder's come first
            variable.assign(weight)

    def _train(self, label_count: tf.Tensor) -> None:
        """All steps, on the first `label_count` images, uint32 []."""
        tf.while_loop(lambda t: t <= self.steps, lambda t: self._step(t, label_count), (tf.constant(1),))

    def _step(self, t: tf.Tensor, label_count: tf.Tensor) -> tuple[tf.Tensor]:
        bits = noise.integers((_BATCH_SIZE,), noise.seed_for(self.seed, Stream.SHUFFLE, t))
        rows = tf.cast(bits % label_count, tf.int32)
        x = to_unit(tf.gather(self.images, rows))
        with tf.GradientTape() as tape:
            logits = self.head(self.encoder(x).mean)
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.gather(self.labels, rows), logits)
            loss = tf.reduce_mean(loss)
        trained = self.variables[: len(self.weights)]
        gradients = tape.gradient(loss, trained, unconnected_gradients="zero")  # the head sees the mean alone
        self.optimizer.apply(gradients, self.weights)
        return (t + 1,)

    def accuracy(self, test: Split) -> float:
        """The fraction of the images whose label is predicted."""
        [logits] = in_blocks(
            lambda images: (self.head(self.encoder(to_unit(images)).mean),), test.array, block_size=self.rows_together
        )
        return float(np.mean(self.classes[logits.argmax(axis=-1)] == test.labels))


def fine_tuning(vae: VAE, train: Split, test: Split, seed: int, steps: int = 1_000) -> Accuracies:
    """Test accuracy of the encoder with a linear head on its mean, trained on 100, 1,000 and all labelled images.

    Once from the VAE's weights and once from scratch: else alike, `steps` of Adam on batches of 100 with replacement.
    """
    classifier = _FineTuning(vae, train, seed, steps)
    size = len(train.known_labels)
    accuracies: Accuracies = {}
    for label_count in sorted({min(count, size) for count in (*_LABEL_COUNTS, size)}):
        row = accuracies[f"{label_count:,} labels"] = {}
        for name, encoder_weights in (("fine-tuned", vae.encoder.trainable_variables), ("from scratch", ())):
            classifier.reset(encoder_weights)
            classifier.train(tf.constant(label_count, tf.uint32))
            row[name] = classifier.accuracy(test)
    return accuracies
