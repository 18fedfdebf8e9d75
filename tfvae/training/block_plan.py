"""How much is computed in a call: blocks of an evaluation fit into a given memory, and a signal is soon heard.

The plan follows from the image's shape, the network and the memory alone, never from the machine: figures, which change
with it in their last digits, are the same on all of them.
"""

from typing import NamedTuple

from tfvae.config import Config
from tfvae.core import cost
from tfvae.core.vae import VAE

TILE = 256  # images whose noise is drawn together: part of the numbers
SAMPLES_AT_ONCE = 5  # of each, likewise
_MOST_SAMPLES = 200 * SAMPLES_AT_ONCE  # of a call: float32 sums stay exact
_FIRST_STEPS = 10
_CALL_MULTIPLY_ADDS = 5e10  # of a call, which is some seconds: a signal is heard between calls


class BlockPlan(NamedTuple):
    """Images in a block, at most; samples of z for each that are decoded together; samples in a call."""

    images: int = TILE
    samples_at_once: int = SAMPLES_AT_ONCE
    samples_in_call: int = _MOST_SAMPLES

    def block_size(self, images: int) -> int:
        """Images in a block, of so many in all: a power of two; few images are not filled up to a large block."""
        return min(self.images, 1 << max(0, images - 1).bit_length())


WHOLE_TILES = BlockPlan()


def first_steps(config: Config, vae: VAE) -> int:
    """How many training steps are made together before their speed is known: ten, or fewer of large images."""
    of_image = cost.of_encoder(vae.encoder).multiply_adds
    of_z = cost.of_decoder(vae.decoder).multiply_adds
    of_step = 3 * config.batch_size * (of_image + config.num_samples * of_z)  # the gradient takes two passes more
    return max(1, min(_FIRST_STEPS, int(_CALL_MULTIPLY_ADDS // of_step)))


def next_steps(config: Config, step: int, epoch_steps: int, chunk: int) -> int:
    """How many steps are made together after `step`: up to `chunk`, but not beyond the next validation.

    They end within an epoch only where they reach no epoch's end.
    """
    epoch = step // epoch_steps
    interval = config.epochs_a_validation
    next_stop = min((epoch // interval + 1) * interval, config.epoch_count)  # an epoch
    count = min(chunk, next_stop * epoch_steps - step)
    to_epoch_end = (step + count) // epoch_steps * epoch_steps - step
    return to_epoch_end if to_epoch_end > 0 else count


def plan_blocks(vae: VAE, memory_gb: float) -> BlockPlan:
    """The largest blocks whose activations take at most `memory_gb`, and whose calls are not too long."""
    rows = cost.rows_within(vae, memory_gb * 1e9)
    work = cost.of_decoder(vae.decoder).multiply_adds + 1
    rows = min(rows, int(_CALL_MULTIPLY_ADDS // work))  # of decoded z, in memory and in a call
    images, samples = TILE, SAMPLES_AT_ONCE
    while images > 1 and images * samples > rows:
        images //= 2
    if images * samples > rows:
        samples = 1
    in_call = int(_CALL_MULTIPLY_ADDS // (images * work)) // samples * samples
    return BlockPlan(images, samples, min(_MOST_SAMPLES, max(samples, in_call)))
