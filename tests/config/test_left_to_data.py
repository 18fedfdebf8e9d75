"""What settings leave to the data, once these are known, and what a run's name makes of it."""

import pytest

from tfvae.config import Config
from tfvae.config.flagfile import FILE_NAME, check_resumable, to_flagfile
from tfvae.config.left_to_data import choices, with_epochs, with_filters
from tfvae.config.run_name import run_name
from tfvae.errors import InputError


def test_epochs_auto_is_a_million_images_and_ten_passes_at_least():
    """Of the digits' 1,437 training images 696 epochs; of 200,000 ten."""
    for examples, epochs in ((1_437, 696), (200_000, 10)):
        config = with_epochs(Config(dataset="digits"), examples, 7)
        assert config.epochs == epochs and config.validation_examples == 7
    assert with_epochs(Config(dataset="digits", epochs=4), 20, 7).epochs == 4


def test_filters_follow_the_image_unless_they_are_given_or_dense_layers_have_none():
    assert with_filters(Config(network="conv"), (64, 64, 3)).filters == (32, 64, 128)
    assert with_filters(Config(network="conv", filters=(8,)), (64, 64, 3)).filters == (8,)
    assert with_filters(Config(), (64, 64, 3)).filters is None


def test_a_run_keeps_the_filters_that_it_records(tmp_path):
    recorded = Config(network="conv", filters=(32, 64))
    (tmp_path / FILE_NAME).write_text(to_flagfile(recorded))
    config = Config(network="conv", run_dir=str(tmp_path))
    check_resumable(config, recorded)
    assert with_filters(config, (64, 64, 3)).filters == (32, 64)
    with pytest.raises(InputError, match="filters"):
        check_resumable(Config(network="conv", filters=(32, 64, 128), run_dir=str(tmp_path)), recorded)


def test_a_run_has_the_name_that_it_had_before_filters_could_be_auto():
    """28x28 keeps 32,64, given or not: both were the default."""
    name = run_name(Config(dataset="mnist", network="conv", epochs=3))
    assert name == "mnist-conv-2-61abd148"
    assert run_name(Config(dataset="mnist", network="conv", epochs=3, filters=(32, 64))) == name
    assert run_name(Config(dataset="mnist", network="conv", epochs=3, filters=(32, 64, 128))) != name


def test_of_a_folder_of_colour_images_the_network_for_photographs_is_named():
    conv = Config(network="conv", likelihood="gaussian", sigma="learned", epochs=3)
    resnet = Config(network="resnet", likelihood="gaussian", sigma="learned", epochs=3)
    rest = ", --likelihood=gaussian, --sigma=learned, --epochs=3"
    advice = " (of photographs resnet has a smaller error after as many epochs, and takes longer)"
    assert choices(conv, "folder", 3) == (f"--network=conv{advice}{rest}",)
    assert choices(conv, "folder", 1) == (f"--network=conv{rest}",)
    assert choices(resnet, "folder", 3) == (f"--network=resnet{rest}",)
    assert choices(conv, "images", 3) == ()
