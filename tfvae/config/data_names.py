"""What a name of a data set tells of it: a file, a folder, a table, or arrays of Python."""

TABLES = (".csv", ".parquet")  # the endings of their files' names
ARRAYS = "arrays"  # the name of images that Python hands in: a run keeps their fingerprint, not them


def is_file_name(dataset: str) -> bool:
    """Whether `--dataset` names a file or a folder rather than a data set."""
    return dataset.endswith((".npy", ".npz", *TABLES)) or dataset.startswith((".", "/", "~"))
