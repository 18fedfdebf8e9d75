"""The same VAE, batch, data and precision in the ways that a user would otherwise run: each function an epoch's worth.

    python benchmarks/contenders.py NAME WORK IMAGES.npy

makes one ready, then trains an epoch for each line of its input and answers with the seconds it took and the epoch's
mean ELBO. benchmarks/speed.py lets them take turns.
"""

import sys
import time
from collections.abc import Callable

import numpy as np
from examples import Work, keras_vae, to_unit, tutorial_batches, tutorial_step, whole_batches

Epoch = Callable[[], float]  # trains an epoch: the mean ELBO over it, in nats

WORKS = {
    "784-512-2, batch 128": Work((512,), 2, 128, "relu"),
    "784-200-200-50, batch 20": Work((200, 200), 50, 20, "tanh"),
    "784-200-200-50, batch 20, stochastic": Work((200, 200), 50, 20, "tanh", True),
    "convolutions 32-64, 16 units, z = 2, batch 128 (keras.io's)": Work(
        (16,),
        2,
        128,
        "relu",
        filters=(32, 64),
        images=6_400,
        contenders=("tfvae", "keras_fit", "tutorial", "pytorch", "pytorch_channels_last"),
    ),
    "resnet 32-64, 2 blocks, 256 units, z = 32, batch 128": Work(
        (256,),
        32,
        128,
        "relu",
        filters=(32, 64),
        images=6_400,
        contenders=("tfvae", "pytorch", "pytorch_channels_last"),
        residual_blocks=2,
    ),
    "784-512-2, batch 128, bfloat16 beside float32": Work(
        (512,), 2, 128, "relu", contenders=("tfvae", "tfvae_bfloat16")
    ),
}
PIXELS = 784


def tfvae(work: Work, images: np.ndarray, dtype: str = "float32") -> Epoch:
    from tfvae.config import Config
    from tfvae.runtime.tensorflow import import_tensorflow

    import_tensorflow()
    from tfvae.training.state import create_state, steps_per_epoch
    from tfvae.training.step import TrainProgram, mean_of_parts

    config = Config(
        hidden_units=work.hidden_units,
        latent_dim=work.latent_dim,
        batch_size=work.batch_size,
        activation=work.activation,
        binarize="stochastic" if work.stochastic else "none",
        network="resnet" if work.residual_blocks else "conv" if work.filters else "mlp",
        filters=work.filters or (1,),
        residual_blocks=work.residual_blocks or 1,
        dtype=dtype,
        epochs=1,
    )
    program = TrainProgram(create_state(config, images.shape[1:], len(images)), config, images)
    steps, done = steps_per_epoch(config, len(images)), 0

    def epoch() -> float:
        nonlocal done
        done += steps
        return mean_of_parts(program.run(done - steps, steps)[0])["elbo"]

    return epoch


def tfvae_bfloat16(work: Work, images: np.ndarray) -> Epoch:
    return tfvae(work, images, "bfloat16")


def keras_fit(work: Work, images: np.ndarray) -> Epoch:
    """As keras.io/examples/generative/vae does it: `keras_vae`, by `fit`."""
    vae = keras_vae(work, PIXELS)
    x = whole_batches(work, to_unit(images))
    return lambda: -vae.fit(x, epochs=1, batch_size=work.batch_size, verbose=0).history["total_loss"][-1]


def tutorial(work: Work, images: np.ndarray) -> Epoch:
    """As tensorflow.org/tutorials/generative/cvae does it: tf.data, and a tf.function call for each batch."""
    _, train_step = tutorial_step(work, PIXELS)
    dataset = tutorial_batches(work, to_unit(images))
    return lambda: -float(np.mean([train_step(batch) for batch in dataset]))


def pytorch(work: Work, images: np.ndarray, channels_last: bool = False) -> Epoch:
    """As pytorch/examples does it, but with the images in memory: no DataLoader in the way."""
    import torch
    from torch import nn
    from torch_networks import Encoder, make_decoder

    torch.manual_seed(0)
    encoder, decoder = Encoder(work), make_decoder(work)
    parts = nn.ModuleList([encoder, decoder])
    if channels_last:
        parts.to(memory_format=torch.channels_last)
    # fused, for convolutional networks have two million weights in their dense layers
    optimizer = torch.optim.Adam(parts.parameters(), lr=1e-3, fused=bool(work.filters))
    data = torch.from_numpy(images.reshape(-1, PIXELS).astype(np.float32) / 255)

    def epoch() -> float:
        total, order = 0.0, torch.randperm(len(data))
        steps = len(data) // work.batch_size
        for rows in order[: steps * work.batch_size].split(work.batch_size):
            x = data[rows]
            if work.stochastic:
                x = torch.bernoulli(x)
            optimizer.zero_grad()
            mean, log_variance = encoder(x)
            logits = decoder(mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean))
            loss = nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="sum")
            loss = (loss - 0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())) / work.batch_size
            loss.backward()
            total += loss.item()
            optimizer.step()
        return -total / steps

    return epoch


def pytorch_channels_last(work: Work, images: np.ndarray) -> Epoch:
    return pytorch(work, images, channels_last=True)


def jax_scan(work: Work, images: np.ndarray) -> Epoch:
    """A whole epoch in one jitted `lax.scan`, the images on the device."""
    import jax
    import jax.numpy as jnp

    glorot = jax.nn.initializers.glorot_uniform()
    forward = {"relu": jax.nn.relu, "tanh": jnp.tanh}[work.activation]
    last, hidden = work.hidden_units[-1], work.hidden_units

    def dense(key: jax.Array, sizes: tuple[int, ...]) -> list:
        keys = jax.random.split(key, len(sizes))
        return [(glorot(k, pair), jnp.zeros(pair[1])) for k, pair in zip(keys, zip(sizes, sizes[1:]))]

    keys = jax.random.split(jax.random.key(0), 4)
    sizes = ((PIXELS, *hidden), (last, work.latent_dim), (last, work.latent_dim), (work.latent_dim, *hidden[::-1]))
    weights = [dense(k, s) for k, s in zip(keys, sizes)] + [dense(keys[0], (hidden[0], PIXELS))]
    data = jnp.asarray(images.reshape(-1, PIXELS).astype(np.float32) / 255)
    steps = len(data) // work.batch_size

    def through(x: jax.Array, layers: list, last: bool = False) -> jax.Array:
        for w, b in layers:
            x = x @ w + b if last else forward(x @ w + b)
        return x

    def loss_of(weights: list, x: jax.Array, epsilon: jax.Array) -> jax.Array:
        encoder, to_mean, to_log_variance, decoder, to_pixels = weights
        h = through(x, encoder)
        mean, log_variance = through(h, to_mean, True), through(h, to_log_variance, True)
        logits = through(through(mean + jnp.exp(0.5 * log_variance) * epsilon, decoder), to_pixels, True)
        reconstruction = jnp.maximum(logits, 0) - logits * x + jnp.log1p(jnp.exp(-jnp.abs(logits)))
        kl = -0.5 * (1 + log_variance - mean**2 - jnp.exp(log_variance))
        return (reconstruction.sum() + kl.sum()) / work.batch_size

    def step(carry: tuple, rows: jax.Array) -> tuple:
        weights, m, v, t, key = carry
        key, for_x, for_z = jax.random.split(key, 3)
        x = data[rows]
        if work.stochastic:
            x = (jax.random.uniform(for_x, x.shape) < x).astype(jnp.float32)
        epsilon = jax.random.normal(for_z, (work.batch_size, work.latent_dim))
        loss, g = jax.value_and_grad(loss_of)(weights, x, epsilon)
        t += 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
        rate = 1e-3 * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        weights = jax.tree.map(lambda w, m, v: w - rate * m / (jnp.sqrt(v) + 1e-7), weights, m, v)
        return (weights, m, v, t, key), loss

    @jax.jit
    def run(carry: tuple) -> tuple:
        *state, key = carry
        key, for_order = jax.random.split(key)
        order = jax.random.permutation(for_order, len(data))[: steps * work.batch_size]
        carry, losses = jax.lax.scan(step, (*state, key), order.reshape(steps, work.batch_size))
        return carry, losses.mean()

    zeros = jax.tree.map(jnp.zeros_like, weights)
    carry = (weights, zeros, zeros, jnp.zeros([]), jax.random.key(1))

    def epoch() -> float:
        nonlocal carry
        carry, loss = run(carry)
        return -float(loss)

    return epoch


def products(work: Work, images: np.ndarray) -> Epoch:
    """The floor: a step's matrix products, forward and backward, by TensorFlow, and nothing else."""
    import tensorflow as tf

    sizes = [(PIXELS, *work.hidden_units), (work.hidden_units[-1], 2 * work.latent_dim)]
    sizes += [(work.latent_dim, *work.hidden_units[::-1], PIXELS)]
    shapes = [pair for chain in sizes for pair in zip(chain, chain[1:])]
    weights = [tf.random.normal(shape) for shape in shapes]
    inputs = [tf.random.normal((work.batch_size, shape[0])) for shape in shapes]
    upstream = [tf.random.normal((work.batch_size, shape[1])) for shape in shapes]

    def made() -> list[tf.Tensor]:
        forward = [tf.matmul(x, w) for x, w in zip(inputs, weights)]
        of_weights = [tf.matmul(x, g, transpose_a=True) for x, g in zip(inputs, upstream)]
        # nothing asks for the images' gradient
        return forward + of_weights + [tf.matmul(g, w, transpose_b=True) for g, w in zip(upstream[1:], weights[1:])]

    steps = len(images) // work.batch_size

    @tf.function
    def run() -> list[tf.Tensor]:  # what nobody takes out of the loop would not be computed
        loop = (tf.constant(0), *made())
        return tf.while_loop(lambda t, *_: t < steps, lambda t, *_: (t + 1, *made()), loop, parallel_iterations=1)

    def epoch() -> float:
        run()[0].numpy()
        return float("nan")

    return epoch


ALL = (tfvae, tfvae_bfloat16, keras_fit, tutorial, pytorch, pytorch_channels_last, jax_scan, products)
CONTENDERS = {contender.__name__: contender for contender in ALL}


def main() -> None:
    name, work, path = sys.argv[1:]
    images = np.load(path)[: WORKS[work].images]
    epoch = CONTENDERS[name](WORKS[work], images)
    epoch()  # compiles
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        elbo = epoch()
        print(time.perf_counter() - start, elbo, flush=True)


if __name__ == "__main__":
    main()
