"""The commands, each a file of this name beside the wings, and what it does."""

COMMANDS = {
    "train": "trains, evaluates, exports; run again, goes on where it stopped",
    "launch": "the same by several processes of this machine",
    "grid": "trains all combinations of settings, one after the other",
    "compare": "runs beside each other: a table, a picture",
    "evaluate": "test ELBO, log p(x), active units, baselines",
    "apply": "latents, scores, reconstructions, samples of any data, into a file",
    "explore": "samples, walks, traversals, missing pixels, features, fine-tuning",
    "export": "decoder and encoder as SavedModels; the latent explorer; ONNX",
    "serve": "serves an export over TensorFlow Serving's REST API",
    "completion": "what a shell needs to complete commands and flags",
}
