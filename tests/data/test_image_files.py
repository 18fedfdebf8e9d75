"""One image file of each format and mode: its pixels are those that NumPy makes of what was written."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from tfvae.data.image_files import DamagedImage, Form, UnfitImage, decode, read_header

RNG = np.random.default_rng(0)
SMOOTH = np.add.outer(np.arange(6) * 20, np.arange(8) * 12).astype(np.uint8)  # what JPEG keeps
GREY = RNG.integers(0, 256, (6, 8), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8)
ALPHA = RNG.integers(0, 256, (6, 8), dtype=np.uint8)
DEEP = RNG.integers(0, 65_536, (6, 8), dtype=np.uint16)
INKS = RNG.integers(0, 256, (6, 8, 4), dtype=np.uint8)
COLOURS = RNG.integers(0, 256, (256, 3), dtype=np.uint8)  # of a palette
GREYS = np.repeat(RNG.permutation(256).astype(np.uint8)[:, None], 3, axis=1)


def as_form(channels, as_floats=False, crops=False, size=(6, 8)):
    return Form(*size, channels, as_floats, crops)


def save(path, array, mode=None, **options):
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    if mode is not None:
        assert image.mode == mode
    image.save(path, **options)
    return path


def paletted(colours):
    image = Image.fromarray(GREY).copy()
    image.putpalette(colours.tobytes())
    assert image.mode == "P"
    return image


def on_white(colour, alpha):
    a = alpha[..., None] / 255
    return colour * a + 255 * (1 - a)


def luma(colour):
    return colour @ np.array([0.299, 0.587, 0.114])  # ITU-R 601-2, as Pillow documents


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "TIFF", "webp", "gif"])
def test_formats_without_loss(tmp_path, ending):
    path = save(tmp_path / f"x.{ending}", GREY, "L", **({"lossless": True} if ending == "webp" else {}))
    header = read_header(path)
    assert header[:2] == (6, 8) and not header.has_16_bits
    assert header.has_colour == (ending == "webp")  # which knows colour alone
    np.testing.assert_array_equal(decode(path, as_form(1)).pixels, GREY[..., None])
    if ending != "gif":
        path = save(tmp_path / f"c.{ending}", COLOUR, "RGB", **({"lossless": True} if ending == "webp" else {}))
        assert read_header(path) == (6, 8, True, False)
        np.testing.assert_array_equal(decode(path, as_form(3)).pixels, COLOUR)


def test_jpeg_is_near_what_was_written(tmp_path):
    path = save(tmp_path / "x.jpg", SMOOTH, quality=100)
    assert read_header(path) == (6, 8, False, False)
    np.testing.assert_allclose(decode(path, as_form(1)).pixels[..., 0], np.float64(SMOOTH), atol=3)
    import matplotlib.image

    np.testing.assert_allclose(decode(path, as_form(1)).pixels[..., 0], matplotlib.image.imread(path), atol=1)


def test_of_a_gif_the_first_frame_is_taken(tmp_path):
    frames = [Image.fromarray(frame) for frame in (SMOOTH, 255 - SMOOTH)]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(decode(tmp_path / "x.gif", as_form(1)).pixels[..., 0], SMOOTH)


def test_grey_becomes_colour_and_colour_grey(tmp_path):
    grey, colour = save(tmp_path / "g.png", GREY), save(tmp_path / "c.png", COLOUR)
    np.testing.assert_array_equal(decode(grey, as_form(3)).pixels, np.stack([GREY] * 3, -1))
    np.testing.assert_allclose(decode(colour, as_form(1)).pixels[..., 0], luma(COLOUR), atol=0.51)


def test_one_bit(tmp_path):
    path = save(tmp_path / "x.png", GREY > 127, "1")
    assert read_header(path) == (6, 8, False, False)
    np.testing.assert_array_equal(decode(path, as_form(1)).pixels[..., 0], (GREY > 127) * np.uint8(255))


@pytest.mark.parametrize("as_floats", [False, True])
def test_transparent_pixels_are_laid_over_white(tmp_path, as_floats):
    unit = 255 if as_floats else 1
    path = save(tmp_path / "la.png", np.stack([GREY, ALPHA], -1), "LA")
    assert read_header(path) == (6, 8, False, False)
    decoded = decode(path, as_form(1, as_floats))
    assert decoded.was_transparent
    np.testing.assert_allclose(decoded.pixels * unit, on_white(GREY[..., None], ALPHA), atol=1.01)
    path = save(tmp_path / "rgba.png", np.concatenate([COLOUR, ALPHA[..., None]], -1), "RGBA")
    assert read_header(path) == (6, 8, True, False)
    np.testing.assert_allclose(decode(path, as_form(3)).pixels, on_white(COLOUR, ALPHA), atol=1.01)
    opaque = save(tmp_path / "opaque.png", np.concatenate([COLOUR, np.full_like(COLOUR[..., :1], 255)], -1), "RGBA")
    assert not decode(opaque, as_form(3)).was_transparent
    np.testing.assert_array_equal(decode(opaque, as_form(3)).pixels, COLOUR)


def test_palettes(tmp_path):
    path = save(tmp_path / "x.png", paletted(COLOURS))
    assert read_header(path) == (6, 8, True, False)
    np.testing.assert_array_equal(decode(path, as_form(3)).pixels, COLOURS[GREY])
    path = save(tmp_path / "g.png", paletted(GREYS))
    assert read_header(path) == (6, 8, False, False)
    np.testing.assert_array_equal(decode(path, as_form(1)).pixels, GREYS[GREY][..., :1])
    alphas = RNG.integers(0, 256, 256, dtype=np.uint8)
    path = save(tmp_path / "t.png", paletted(COLOURS), transparency=alphas.tobytes())
    np.testing.assert_allclose(decode(path, as_form(3)).pixels, on_white(COLOURS[GREY], alphas[GREY]), atol=1.01)


def test_a_palette_s_colours_count_where_a_pixel_has_them(tmp_path):
    colours = GREYS.copy()
    unused = np.setdiff1d(np.arange(256), GREY)[0]
    colours[unused] = 1, 2, 3
    assert not read_header(save(tmp_path / "x.png", paletted(colours))).has_colour
    colours[GREY[0, 0]] = 1, 2, 3
    assert read_header(save(tmp_path / "x.png", paletted(colours))).has_colour


def test_a_colour_that_stands_for_transparent(tmp_path):
    path = save(tmp_path / "x.png", GREY, transparency=int(GREY[2, 3]))
    expected = np.where(GREY == GREY[2, 3], 255, GREY)
    np.testing.assert_array_equal(decode(path, as_form(1)).pixels[..., 0], expected)
    path = save(tmp_path / "d.png", DEEP, "I;16", transparency=int(DEEP[2, 3]))
    decoded = decode(path, as_form(1, as_floats=True))
    assert decoded.was_transparent and decoded.pixels[2, 3, 0] == 1 and decoded.pixels.min() < 0.1


def test_cmyk(tmp_path):
    path = save(tmp_path / "x.tif", Image.fromarray(INKS, "CMYK"))
    expected = (255.0 - INKS[..., :3]) * (255.0 - INKS[..., 3:]) / 255
    assert read_header(path) == (6, 8, True, False)
    np.testing.assert_allclose(decode(path, as_form(3)).pixels, expected, atol=1.01)


@pytest.mark.parametrize("array", [DEEP, DEEP.astype(">u2"), DEEP.astype(np.int32)], ids=["little", "big", "I"])
def test_16_bits(tmp_path, array):
    path = save(tmp_path / "x.tif", array)
    assert read_header(path) == (6, 8, False, True)
    floats = decode(path, as_form(1, as_floats=True)).pixels
    assert floats.dtype == np.float32
    np.testing.assert_allclose(floats[..., 0], DEEP / 65_535, rtol=1e-6)
    np.testing.assert_allclose(decode(path, as_form(3)).pixels[..., 1], DEEP / 257, atol=0.51)
    path = save(tmp_path / "x.png", DEEP)
    assert read_header(path) == (6, 8, False, True)
    np.testing.assert_array_equal(decode(path, as_form(1, as_floats=True)).pixels, floats)


def test_8_bits_among_16_are_over_255(tmp_path):
    path = save(tmp_path / "x.png", GREY)
    np.testing.assert_array_equal(decode(path, as_form(1, True)).pixels[..., 0], GREY * np.float32(1 / 255))


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_s_orientation_is_applied(tmp_path, ending, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"webp": {"lossless": True}, "jpg": {"quality": 100}}.get(ending, {})
    path = save(tmp_path / f"x.{ending}", np.stack([SMOOTH] * 3, -1), exif=exif, **options)
    turned = SMOOTH if orientation in (1, 2, 3, 4) else SMOOTH.T
    flips = {2: (1,), 3: (0, 1), 4: (0,), 6: (1,), 7: (0, 1), 8: (0,)}  # of the turned one's axes
    expected = np.flip(turned, flips.get(orientation, ()))
    assert read_header(path)[:2] == expected.shape
    pixels = decode(path, as_form(3, size=expected.shape)).pixels
    np.testing.assert_allclose(pixels[..., 0], np.float64(expected), atol=3)
    with Image.open(path) as image:
        np.testing.assert_array_equal(pixels, np.asarray(ImageOps.exif_transpose(image)))


def test_orientation_behind_the_pixels_of_a_png_is_refused_where_sizes_must_agree(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "x.png", GREY, exif=exif)
    content = path.read_bytes()
    start = content.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(content[start : start + 4])
    last = content.index(b"IEND") - 4
    path.write_bytes(content[:start] + content[end:last] + content[start:end] + content[last:])
    assert read_header(path)[:2] == (6, 8)
    with pytest.raises(UnfitImage, match="is 8x6 when it is turned"):
        decode(path, as_form(1))
    assert decode(path, as_form(1, crops=True, size=(8, 6))).pixels[..., 0].tolist() == np.rot90(GREY, -1).tolist()


def test_the_centre_is_cropped_to_the_ratio_and_resized(tmp_path):
    image = np.zeros((40, 100), np.uint8)
    image[:, 30:50] = 200  # of the centre, columns 30 .. 70, the left half
    image[:, :10] = 255  # cropped away
    path = save(tmp_path / "x.png", image)
    pixels = decode(path, as_form(1, crops=True, size=(4, 4))).pixels[..., 0]
    assert pixels.shape == (4, 4)
    np.testing.assert_allclose(pixels, np.tile([200, 200, 0, 0], (4, 1)), atol=25)
    stripes = save(tmp_path / "s.png", np.tile(np.uint8([0, 255]), (64, 32)))
    inner = decode(stripes, as_form(1, crops=True, size=(8, 8))).pixels
    np.testing.assert_allclose(inner, 127.5, atol=8)  # every second column alone would be 0 or 255


def test_16_bits_are_resized_as_8_bits_are_and_stay_in_their_range(tmp_path):
    eight = np.zeros((30, 30), np.uint8)
    eight[10:20, 10:20] = 255  # Lanczos overshoots here
    size = as_form(1, as_floats=True, crops=True, size=(12, 12))
    floats = decode(save(tmp_path / "x.png", eight * np.uint16(257)), size).pixels
    assert floats.min() == 0 and floats.max() == 1
    np.testing.assert_allclose(floats, decode(save(tmp_path / "y.png", eight), size).pixels, atol=1e-6)
    bytes_ = decode(tmp_path / "y.png", size._replace(as_floats=False)).pixels
    np.testing.assert_allclose(floats * 255, bytes_, atol=4)  # those are clipped after the rows and after the columns


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "bmp", "gif", "tif"])
def test_a_file_that_ends_early_is_damaged(tmp_path, ending):
    path = save(tmp_path / f"x.{ending}", RNG.integers(0, 256, (60, 80, 3), dtype=np.uint8))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DamagedImage) as damage:
        read_header(path)
        decode(path, as_form(3, crops=True))
    assert str(damage.value) and "\n" not in str(damage.value) and str(tmp_path) not in str(damage.value)


def test_what_is_no_image_is_damaged(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(b"")
    with pytest.raises(DamagedImage, match="^is empty$"):
        read_header(path)
    path.write_bytes(b"<html>")
    with pytest.raises(DamagedImage, match="^is no image$"):
        read_header(path)
    save(path, GREY, format="PPM")
    with pytest.raises(DamagedImage, match="^is no image$"):
        read_header(path)
    with pytest.raises(DamagedImage, match="^No such file or directory$"):
        read_header(tmp_path / "y.png")


def test_a_broken_checksum_is_damage(tmp_path):
    path = save(tmp_path / "x.png", GREY)
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 10] ^= 255
    path.write_bytes(content)
    with pytest.raises(DamagedImage):
        decode(path, as_form(1))


def test_broken_exif_is_no_damage(tmp_path):
    path = save(tmp_path / "x.jpg", SMOOTH, exif=b"Exif\0\0broken")
    assert read_header(path)[:2] == (6, 8)
    assert decode(path, as_form(1)).pixels.shape == (6, 8, 1)


def test_kinds_that_are_not_taken(tmp_path, monkeypatch):
    with pytest.raises(UnfitImage, match="floating-point pixels .Pillow's mode F"):
        read_header(save(tmp_path / "f.tif", GREY.astype(np.float32), "F"))
    with pytest.raises(UnfitImage, match="has grey values from -1 to "):
        decode(save(tmp_path / "i.tif", GREY.astype(np.int32) - GREY.min() - 1, "I"), as_form(1, True))
    path = save(tmp_path / "x.png", GREY)
    for limit in (40, 20):  # above the limit Pillow warns, above twice the limit it raises an error
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(UnfitImage, match="^has more$") as unfit:
            read_header(path)
        assert unfit.value.must_be == f"images of at most {limit} pixels" and unfit.value.path == path
