"""The settings of a run. Imports the standard library alone, so that a refused flag never waits for TensorFlow."""

from tfvae.config.config import Config as Config
