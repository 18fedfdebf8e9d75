"""The options of `tfvae.train` that are no settings of a run; `tfvae.launch` hands them to its workers."""

from tfvae.config.fields import field, first_and_last, or_auto, true_or_false

OPTIONS = {
    "dry_run": field(False, true_or_false(), "say what would be done: data, network, memory, steps, time; and leave"),
    "profile_steps": field(
        None,
        or_auto(first_and_last()),
        "A,B: trace what the processor does from the end of step A to that of step B, for TensorBoard; auto: nothing",
    ),
}
