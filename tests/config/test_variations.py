"""What a grid varies: how it is read, all combinations, their names."""

import pytest

from tfvae.config import Config
from tfvae.config.variations import combinations, grid_name, read_variation, require_unset
from tfvae.errors import InputError
from tfvae.flags import parse


def all_of(*texts, **given):
    return combinations([read_variation(text) for text in texts], given)


@pytest.mark.parametrize(
    ("text", "name", "values"),
    [
        ("latent_dim=2;5;10", "latent_dim", (2, 5, 10)),
        ("--latent_dim=2", "latent_dim", (2,)),
        ("hidden_units=512;256,256;", "hidden_units", ((512,), (256, 256), ())),
        ("sigma=0.1;learned", "sigma", (0.1, "learned")),
        ("lr_schedule=constant;20:0.5,30:0.1", "lr_schedule", ("constant", "20:0.5,30:0.1")),
        ("dequantize=true;false", "dequantize", (True, False)),
        ("epochs=auto;3", "epochs", (None, 3)),
    ],
)
def test_values_are_read_as_flags_are(text, name, values):
    assert read_variation(text) == (name, values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("latent_dim", r"vary=latent_dim: must be NAME=VALUE;VALUE;\.\.\.$"),
        ("=2;3", "and  is no flag of tfvae.train"),
        ("laten_dim=2;3", "and laten_dim is no flag of tfvae.train"),
        ("latent_dim=", "latent_dim=: must be a whole number"),
        ("latent_dim=2;;3", "latent_dim=: must be a whole number"),
        ("latent_dim=2,3", "latent_dim=2,3: must be a whole number"),
        ("beta=1;1.0", "must have each value once, and 1.0 is there twice"),
        ("export_dir=a;b", "must be of a setting that changes a run's numbers, and export_dir does not"),
    ],
)
def test_what_is_no_variation_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        read_variation(text)


def test_all_combinations_in_their_order():
    found = all_of("latent_dim=2;5", "seed=0;1", dataset="digits", epochs=7)
    assert [combination.values for combination in found] == [
        {"latent_dim": latent_dim, "seed": seed} for latent_dim in (2, 5) for seed in (0, 1)
    ]
    assert found[3].config == Config(dataset="digits", epochs=7, latent_dim=5, seed=1)


def test_a_combination_s_flags_are_read_back_as_its_values():
    for combination in all_of("hidden_units=;64,32", "dequantize=true", "epochs=auto", likelihood="gaussian"):
        assert parse(combination.flags, "t") == combination.values


@pytest.mark.parametrize(
    ("texts", "name"),
    [
        (["seed=1", "latent_dim=2"], "latent_dim=2,seed=1"),  # in the order of the fields: --vary's does not matter
        (["hidden_units=256,256"], "hidden_units=256_256"),
        (["hidden_units="], "hidden_units="),
        (["learning_rate=1e-4"], "learning_rate=0.0001"),
        (["dataset=./my photos/a.npy"], "dataset=._my_photos_a.npy"),
    ],
)
def test_a_run_is_named_by_what_varies(texts, name):
    assert all_of(*texts)[0].name == name


def test_a_long_name_is_cut_and_still_its_own():
    start = "/".join(["directory"] * 30)
    names = [combination.name for combination in all_of(f"dataset={start}/a.npy;{start}/b.npy")]
    assert len(set(names)) == 2 and all(len(name) < 200 for name in names)


def test_two_runs_of_one_name_are_refused():
    with pytest.raises(InputError, match="would be called dataset=a_b.npy"):
        all_of("dataset=a/b.npy;a_b.npy")


def test_a_combination_that_makes_no_sense_is_refused_and_named():
    with pytest.raises(InputError, match="posterior=laplace, seed=0 can't be combined: kl=analytic: must be") as caught:
        all_of("posterior=full;laplace", "seed=0;1", kl="analytic")
    assert caught.value.for_command_line.startswith("--vary: posterior=laplace, seed=0 can't")
    with pytest.raises(InputError, match="seed=...: must be given once"):
        all_of("seed=0", "latent_dim=2", "seed=1")


@pytest.mark.parametrize(
    ("train_flags", "message"),
    [
        (["--run_dir=a"], "run_dir=a: must not be given"),
        (["--export_name=a"], "export_name=a: must not be given"),
        (["--latent_dim=3"], "latent_dim: must not be given after -- as well"),
        (["-latent_dim", "3"], "latent_dim: must not be given after -- as well"),
        (["--nodequantize"], "dequantize: must not be given after -- as well"),
    ],
)
def test_flags_that_the_grid_gives_are_refused(train_flags, message):
    variations = [read_variation("latent_dim=2;3"), read_variation("dequantize=false")]
    with pytest.raises(InputError, match=message):
        require_unset(variations, train_flags, parse(train_flags, "t"))


def test_a_recipe_may_set_what_is_varied(tmp_path):
    recipe = tmp_path / "a.flags"
    recipe.write_text("--latent_dim=3\n--run_dir=auto\n--batch_size=50\n")
    train_flags = [f"--flagfile={recipe}"]
    given = parse(train_flags, "t")
    variations = [read_variation("latent_dim=2;5")]
    require_unset(variations, train_flags, given)
    assert [(c.config.latent_dim, c.config.batch_size) for c in combinations(variations, given)] == [(2, 50), (5, 50)]


def test_a_grid_s_name_stays_when_values_are_added():
    name = grid_name(all_of("latent_dim=2;5", "seed=0", batch_size=64))
    assert name == grid_name(all_of("seed=0;1", "latent_dim=2;5;10", batch_size=64, memory_gb=1.0))
    assert name.startswith("grid-latent_dim-seed-")
    others = [
        all_of("latent_dim=2;5", "seed=0", batch_size=32),
        all_of("latent_dim=2;5", batch_size=64),
        all_of("latent_dim=2;5", batch_size=64, seed=1),
    ]
    assert len({name, *map(grid_name, others)}) == 4
