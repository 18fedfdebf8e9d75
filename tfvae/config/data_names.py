"""What a name of a data set tells of it: a file, a folder, a table, or arrays of Python."""

from tfvae.config.fields import Kind, text

TABLES = (".csv", ".parquet")  # the endings of their files' names
ARRAYS = "arrays"  # the name of images that Python hands in: a run keeps their fingerprint, not them


def data_set_name() -> Kind:
    """The kind of `--dataset`."""
    return text(
        "auto, digits, the name of a TFDS data set, a folder of images, or a .npy, .npz, .csv or .parquet file",
        "'auto', 'digits', the name of a TFDS data set, a folder of images, or a .npy, .npz, .csv or .parquet "
        "file; tfvae.fit(config, images) takes arrays",
    )


def is_file_name(dataset: str) -> bool:
    """Whether `--dataset` names a file or a folder rather than a data set."""
    return dataset.endswith((".npy", ".npz", *TABLES)) or dataset.startswith((".", "/", "~"))
