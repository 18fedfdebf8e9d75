"""What a name of a data set tells of it: a file, a folder, a table, or arrays of Python."""

from tfvae.config.fields import Kind, text

TABLES = (".csv", ".parquet")  # the endings of their files' names
FILES = (".npy", ".npz", *TABLES)  # those of all files; a path that ends otherwise is a folder of images
ARRAYS = "arrays"  # the name of images that Python hands in: a run keeps their fingerprint, not them


def data_set_name() -> Kind:
    """The kind of `--dataset`."""
    a_file = f"a folder of images, or a {', '.join(FILES[:-1])} or {FILES[-1]} file"
    return text(
        f"auto, digits, the name of a TFDS data set, {a_file}",
        f"'auto', 'digits', the name of a TFDS data set, {a_file}; tfvae.fit(config, images) takes arrays",
    )


def is_file_name(dataset: str) -> bool:
    """Whether `--dataset` names a file or a folder rather than a data set."""
    return dataset.endswith(FILES) or dataset.startswith((".", "/", "~"))
