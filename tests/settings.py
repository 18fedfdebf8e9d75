"""A value for each field of `Config` that is not its default, and a config as a run records it."""

from tfvae.config import Config

MACHINE = {"run_dir", "strategy", "logical_cpus", "start_timeout", "memory_gb"}  # not of the run: not recorded
FREE = MACHINE | {"data_dir", "export_dir", "export_name", "checkpoint_every", "validate_every", "labels"}
OTHER = {  # field: the value as text, and as it must be read
    "dataset": ("digits", "digits"),
    "data_dir": ("/data/my sets", "/data/my sets"),
    "labels": ("none", "none"),
    "binarize": ("stochastic", "stochastic"),
    "validation_examples": ("0", 0),
    "network": ("conv", "conv"),
    "hidden_units": ("300,100", (300, 100)),
    "filters": ("8", (8,)),
    "activation": ("softplus", "softplus"),
    "dtype": ("bfloat16", "bfloat16"),
    "latent_dim": ("20", 20),
    "likelihood": ("gaussian", "gaussian"),
    "sigma": ("0.30000000000000004", 0.1 + 0.2),
    "beta": ("0", 0.0),
    "num_samples": ("50", 50),
    "batch_size": ("20", 20),
    "epochs": ("3280", 3280),
    "optimizer": ("sgd", "sgd"),
    "learning_rate": ("1e-10", 1e-10),
    "adam_epsilon": ("1e-4", 1e-4),
    "lr_schedule": ("200:0.6,350:0.4", "200:0.6,350:0.4"),
    "clip_norm": ("1e3", 1000.0),
    "eval_samples": ("5000", 5000),
    "seed": ("2147483647", 2**31 - 1),
    "strategy": ("mirrored", "mirrored"),
    "logical_cpus": ("4", 4),
    "start_timeout": ("0.5", 0.5),
    "memory_gb": ("0", 0.0),
    "checkpoint_every": ("0.5", 0.5),
    "validate_every": ("3", 3),
    "run_dir": ("runs/a b", "runs/a b"),
    "export_dir": ("out=put", "out=put"),
    "export_name": ("mine", "mine"),
    "posterior": ("full", "full"),
    "prior": ("mixture", "mixture"),
    "prior_components": ("3", 3),
    "objective": ("iwae", "iwae"),
    "kl": ("monte_carlo", "monte_carlo"),
    "estimator": ("score_function", "score_function"),
    "kl_warmup_epochs": ("2.5", 2.5),
    "free_bits": ("0.25", 0.25),
}
LINKED = {"sigma_floor", "dequantize", "baseline"}  # another value needs other flags too
RECORDED = Config(dataset="digits", epochs=5, validation_examples=180, run_dir="runs/a")
