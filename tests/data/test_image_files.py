"""Images in files of common formats: folders by class, lists of labels, Parquet, MedMNIST; on good and on bad files."""

import io
import json
import shutil
import struct
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps

from synthjax import data
from synthjax.data import arrays, files, image_sources
from synthjax.data.image_decoding import decode, parse_size, resize
from synthjax.data.image_folders import read_image_folder
from synthjax.errors import InputError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 5, 4), np.uint8)
COLOUR = RNG.integers(0, 256, (12, 5, 4, 3), np.uint8)
LABELS = np.arange(12, dtype=np.uint8) % 3


def fails(match, read, *args):
    """`read(*args)` answers with one line that matches."""
    with pytest.raises(InputError, match=match) as caught:
        read(*args)
    assert "\n" not in str(caught.value)


def write(folder, images, suffix="png", **options):
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images):
        (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(
            folder / f"{i:03}.{suffix}", **options
        )


@pytest.fixture
def folder(tmp_path):
    for label, name in enumerate(("cat", "dog", "emu")):
        write(tmp_path / name, IMAGES[label == LABELS])
    return tmp_path


# --- folders by class


def test_class_folders_name_the_classes(folder):
    (folder / ".hidden").mkdir()
    (folder / "cat" / "notes.txt").write_text("not an image")
    source = read_image_folder(folder)
    order = np.argsort(LABELS, kind="stable")
    assert source.classes == ("cat", "dog", "emu") and source.test is None
    np.testing.assert_array_equal(source.train.x[..., 0], IMAGES[order])
    np.testing.assert_array_equal(source.train.y, LABELS[order])
    (note,) = source.notes
    assert note.startswith("1 file is left out") and note.endswith("cat/notes.txt")


def test_folders_named_by_numbers_sort_by_value(tmp_path):
    for name in ("10", "9", "0"):
        write(tmp_path / name, IMAGES[:1])
    assert read_image_folder(tmp_path).classes == ("0", "9", "10")


def test_train_validation_and_test_folders(tmp_path):
    for name in "ab":
        write(tmp_path / "train" / name, IMAGES[:3])
        write(tmp_path / "test" / name, IMAGES[3:5])
    source = read_image_folder(tmp_path)
    assert source.classes == ("a", "b") and source.test.y.tolist() == [0, 0, 1, 1]
    np.testing.assert_array_equal(source.test.x[:2, ..., 0], IMAGES[3:5])
    write(tmp_path / "test" / "c", IMAGES[:1])
    fails("class folder c is in only one of train/ and test/", read_image_folder, tmp_path)
    shutil.rmtree(tmp_path / "test")
    for name in "ab":
        write(tmp_path / "val" / name, IMAGES[5:6])
    source = read_image_folder(tmp_path)
    assert source.test is None and source.held == 2 and source.train.y.tolist() == [0, 0, 0, 1, 1, 1, 0, 1]
    np.testing.assert_array_equal(source.train.x[6, ..., 0], IMAGES[5])
    (tmp_path / "more").mkdir()
    fails("more: unexpected beside train/", read_image_folder, tmp_path)


def test_the_validation_split_of_the_files_is_the_holdout(tmp_path):
    np.savez(
        tmp_path / "med.npz",
        **{f"{split}_images": IMAGES[rows] for split, rows in SPLITS.items()},
        **{f"{split}_labels": LABELS[rows, None] for split, rows in SPLITS.items()},
    )
    found = data.load(str(tmp_path / "med.npz"))
    for split, rows in zip((found.train, found.holdout, found.test), SPLITS.values(), strict=True):
        np.testing.assert_array_equal(split.x[..., 0], IMAGES[rows])
        np.testing.assert_array_equal(split.y, LABELS[rows])
    assert found.train.index.tolist() == list(range(6)) and found.holdout.index.tolist() == [6, 7, 8]
    none = data.load(str(tmp_path / "med.npz"), holdout=0)
    assert len(none.holdout.y) == 0 and len(none.train.y) == 6


SPLITS = {"train": slice(0, 6), "val": slice(6, 9), "test": slice(9, 12)}


def test_empty_classes_and_folders_are_named(folder, tmp_path_factory):
    (folder / "cow").mkdir()
    fails("cow: an empty class", read_image_folder, folder)
    fails("no images", read_image_folder, tmp_path_factory.mktemp("empty"))
    fails("No such file", read_image_folder, folder / "none")
    assert files.holds_idx(folder) is False


# --- formats and modes


@pytest.mark.parametrize("suffix, options", [("tiff", {}), ("webp", {"lossless": True}), ("bmp", {}), ("png", {})])
def test_formats_without_loss_give_the_pixels_and_the_fingerprint_of_arrays(tmp_path, suffix, options):
    ordered = np.argsort(LABELS, kind="stable")
    np.savez(tmp_path / "same.npz", x=COLOUR[ordered], y=LABELS[ordered])
    for label in range(3):
        write(tmp_path / "folder" / str(label), COLOUR[label == LABELS], suffix, **options)
    expected = data.load(str(tmp_path / "same.npz"))
    assert data.load(str(tmp_path / "folder")).fingerprint == expected.fingerprint


def test_jpegs_are_what_pillow_decodes_also_among_pngs(tmp_path):
    write(tmp_path / "a", IMAGES[:2], "jpg")
    write(tmp_path / "a", IMAGES[2:3], "png")
    expected = np.asarray(Image.open(tmp_path / "a" / "001.jpg"))
    x = read_image_folder(tmp_path).train.x[..., 0]
    np.testing.assert_array_equal(x[2], expected)
    np.testing.assert_array_equal(x[1], IMAGES[2])
    assert len(x) == 3


def test_colour_palette_and_bilevel_images(tmp_path):
    write(tmp_path / "rgb", COLOUR[:2])
    source = read_image_folder(tmp_path / "rgb")  # without class folders: unlabelled
    np.testing.assert_array_equal(source.train.x, COLOUR[:2])
    assert source.train.y is None and source.notes == ()
    bits = IMAGES[0] > 127
    write(tmp_path / "bit", [bits])
    np.testing.assert_array_equal(read_image_folder(tmp_path / "bit").train.x[0, ..., 0], bits * 255)
    few = COLOUR[0] & 0x80
    write(tmp_path / "palette", [Image.fromarray(few).quantize(16)])
    np.testing.assert_array_equal(read_image_folder(tmp_path / "palette").train.x[0], few)


def test_grey_among_colour_becomes_rgb_and_is_told(tmp_path):
    write(tmp_path / "a", COLOUR[:2])
    Image.fromarray(IMAGES[0]).save(tmp_path / "a" / "zzz.png")
    source = read_image_folder(tmp_path)
    np.testing.assert_array_equal(source.train.x[2], np.repeat(IMAGES[0][..., None], 3, axis=-1))
    assert source.notes == ("1 of 3 images are grey and stored as RGB, since others are in colour",)


@pytest.mark.parametrize("pixels", [IMAGES[0], COLOUR[0]])
def test_opaque_alpha_is_dropped_and_transparency_is_refused(tmp_path, pixels):
    image = Image.fromarray(pixels)
    image.putalpha(255)
    write(tmp_path / "a", [image])
    source = read_image_folder(tmp_path)
    np.testing.assert_array_equal(source.train.x[0].squeeze(), pixels)
    assert source.notes == ("1 of 1 images have an alpha channel, which is opaque and is dropped",)
    image.putalpha(Image.fromarray(np.full((5, 4), 255, np.uint8) - (np.arange(20).reshape(5, 4) == 7)))
    write(tmp_path / "a", [image])
    fails("000.png: has transparent pixels; put it on a background", read_image_folder, tmp_path)


@pytest.mark.parametrize("suffix", ["png", "tiff"])
@pytest.mark.parametrize("top, white", [(255, 255), (3000, 4095), (40_000, 65_535)])
def test_16_bit_images_are_scaled_by_the_depth_that_holds_them_all(tmp_path, suffix, top, white):
    deep = RNG.integers(0, top + 1, (3, 5, 4)).astype(np.uint16)
    deep[1, 2, 3] = top
    write(tmp_path / "a", deep, suffix)
    source = read_image_folder(tmp_path)
    np.testing.assert_array_equal(source.train.x[..., 0], np.rint(deep * 255.0 / white))
    assert f"at most {top:,}: 0 ... {white:,} become 0 ... 255" in source.notes[0]
    write(tmp_path / "a", IMAGES[:1], suffix)
    fails("has 16 bits a pixel, others have 8", read_image_folder, tmp_path)


def test_photographs_are_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    write(tmp_path / "a", [COLOUR[0]], "png", exif=exif)
    source = read_image_folder(tmp_path)
    np.testing.assert_array_equal(source.train.x[0], np.rot90(COLOUR[0], -1))
    assert source.notes == ("1 of 1 images are turned upright, as their EXIF says",)


def test_cmyk_is_what_pillow_makes_of_it(tmp_path):
    image = Image.fromarray(COLOUR[0]).convert("CMYK")
    write(tmp_path / "a", [image], "tiff")
    source = read_image_folder(tmp_path)
    np.testing.assert_array_equal(source.train.x[0], np.asarray(image.convert("RGB")))
    assert source.notes == ("1 of 1 images are CMYK and become RGB",)


def test_float_images_are_refused(tmp_path):
    write(tmp_path / "a", [IMAGES[0].astype(np.float32)], "tiff")
    fails("000.tiff: an image of mode F", read_image_folder, tmp_path)


# --- sizes


def test_images_of_several_sizes_need_a_size(folder):
    Image.fromarray(IMAGES[0][:4]).save(folder / "dog" / "zzz.png")
    fails(r"zzz.png: is of 4 x 4 pixels .*cat/000.png of 5 x 4; --image_size=N", read_image_folder, folder)
    source = read_image_folder(folder, (8, 6))
    assert source.train.x.shape == (13, 8, 6, 1)
    assert source.notes[0].startswith("13 of 13 images are resized to 8 x 6 pixels (height x width)")


def test_resizing_scales_to_cover_and_crops_at_the_centre(tmp_path):
    wide = np.zeros((8, 16, 3), np.uint8)
    wide[:, 4:12] = 200
    x, _ = decode(_saved(tmp_path, wide), (4, 4))
    assert (abs(x[0, :, 1:3].astype(int) - 200) <= 3).all()  # the middle half; the dark ends are cut off
    np.testing.assert_array_equal(x[0], np.asarray(ImageOps.fit(Image.fromarray(wide), (4, 4))))
    np.testing.assert_array_equal(resize(wide[None], (4, 4)), x)
    grey = resize(IMAGES[..., None], (10, 8))
    np.testing.assert_array_equal(grey[3, ..., 0], np.asarray(ImageOps.fit(Image.fromarray(IMAGES[3]), (8, 10))))


def _saved(tmp_path, image):
    write(tmp_path / "one", [image])
    return [tmp_path / "one" / "000.png"]


def test_sizes_are_read_or_refused():
    assert parse_size("") is None and parse_size("64") == (64, 64) and parse_size("48x64") == (48, 64)
    for text in ("0", "-3", "64x", "3x4x5", "a", "9999", "٣"):
        fails("image_size=.*: such as 64, or 48x64", parse_size, text)


def test_image_size_goes_with_256_levels_and_with_images(tmp_path):
    np.savez(tmp_path / "a.npz", x=IMAGES, y=LABELS)
    found = data.load(str(tmp_path / "a.npz"), image_size="10x8")
    assert found.spec.shape == (10, 8, 1) and "resized from 5 x 4 to 10 x 8" in found.notes[0]
    with pytest.raises(InputError, match="image_size: goes with images of 256 grey levels; these have 17"):
        data.load("digits", image_size="16")
    with pytest.raises(InputError, match="image_size=16: is for images; breast_cancer is a table"):
        data.load("breast_cancer", image_size="16")


# --- lists of labels


def test_a_list_names_files_labels_and_splits(tmp_path):
    write(tmp_path, IMAGES[:8])
    rows = [f"{i:03},{'no' if i % 2 else 'yes'},{'test' if i > 5 else 'train'}" for i in (3, 1, 2, 0, 5, 4, 6, 7)]
    (tmp_path / "labels.csv").write_text("Image_ID,Diagnosis,split\n" + "\n".join(rows))
    write(tmp_path / "apart", IMAGES[:1])
    for place in (tmp_path, tmp_path / "labels.csv"):
        source = image_sources.read_path(str(place), None, None)
        np.testing.assert_array_equal(source.train.x[..., 0], IMAGES[[3, 1, 2, 0, 5, 4]])
        assert source.classes == ("no", "yes") and source.train.y.tolist() == [0, 0, 1, 1, 0, 1]
        assert source.test.y.tolist() == [1, 0] and source.notes == ()
    assert image_sources.is_table(str(tmp_path / "labels.csv"), None) is False


@pytest.mark.parametrize(
    "rows, match",
    [
        ("000.png,a\n999.png,a", "labels.csv: row 2: no image '999.png' beside the list"),
        ("000.png,a\n../out.png,a", "row 2: no image '../out.png' beside"),
        ("000.png,a\n001.png,", "row 2, '001.png': no label"),
    ],
)
def test_bad_rows_of_a_list_are_named(tmp_path, rows, match):
    write(tmp_path / "in", IMAGES[:2])
    Image.fromarray(IMAGES[0]).save(tmp_path / "out.png")
    (tmp_path / "in" / "labels.csv").write_text("file,label\n" + rows)
    fails(match, read_image_folder, tmp_path / "in")


def test_images_that_a_list_does_not_name_are_told(tmp_path):
    write(tmp_path, IMAGES[:3])
    (tmp_path / "labels.csv").write_text("file,label\n000.png,a\n001.png,b\n")
    (note,) = read_image_folder(tmp_path).notes
    assert note == f"1 file is left out, being no images or without a label: {tmp_path}/002.png"


def test_a_table_with_a_column_of_names_stays_a_table(tmp_path):
    (tmp_path / "people.csv").write_text("name,class\nann,1\nbob,2\n")
    assert image_sources.is_table(str(tmp_path / "people.csv"), None)
    fails("a folder with tables", image_sources.read_path, str(tmp_path), None, None)


# --- Parquet


def parquet(path, images, labels, names=None):
    """A file as Hugging Face datasets writes it."""
    cells = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, format="PNG")
        cells.append({"bytes": buffer.getvalue(), "path": None})
    table = pa.table({"image": pa.array(cells, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))})
    table = table.append_column("label", pa.array(labels))
    if names:
        info = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    path.parent.mkdir(exist_ok=True)
    pq.write_table(table, path)


def test_parquet_files_with_images_by_split(tmp_path):
    for split, rows in SPLITS.items():
        name = f"{'validation' if split == 'val' else split}-00000-of-00001.parquet"
        parquet(tmp_path / "data" / name, IMAGES[rows], LABELS[rows].tolist(), ["cat", "dog", "emu"])
    found = data.load(str(tmp_path))
    assert found.spec.classes == ("cat", "dog", "emu")
    for split, rows in zip((found.train, found.holdout, found.test), SPLITS.values(), strict=True):
        np.testing.assert_array_equal(split.x[..., 0], IMAGES[rows])
        np.testing.assert_array_equal(split.y, LABELS[rows])


def test_one_parquet_file_has_the_fingerprint_of_arrays(tmp_path):
    parquet(tmp_path / "one.parquet", IMAGES, LABELS.tolist())
    np.savez(tmp_path / "one.npz", x=IMAGES, y=LABELS)
    expected = data.load(str(tmp_path / "one.npz")).fingerprint
    assert data.load(str(tmp_path / "one.parquet")).fingerprint == expected
    assert not image_sources.is_table(str(tmp_path / "one.parquet"), None)


def test_bad_parquet_rows_are_named(tmp_path):
    parquet(tmp_path / "one.parquet", IMAGES[:2], [[0, 1], [1]])
    fails("one.parquet: row 1: several labels an image", read_image_folder, tmp_path)
    parquet(tmp_path / "one.parquet", IMAGES[:2], [0, None])
    fails("row 2: no label", read_image_folder, tmp_path)


# --- archives


@pytest.mark.parametrize("x, y", [("images", "labels"), ("X", "Y"), ("data", "targets"), ("image", "label")])
def test_common_names_of_arrays(tmp_path, x, y):
    np.savez(tmp_path / "a.npz", **{x: IMAGES, y: LABELS, "other": np.arange(3)})
    part = files.read_npz(tmp_path / "a.npz").train
    np.testing.assert_array_equal(part.x[..., 0], IMAGES)
    np.testing.assert_array_equal(part.y, LABELS)


def test_several_labels_an_image_are_refused_with_the_reason(tmp_path):
    several = np.zeros((12, 14), np.uint8)
    several[0, :2] = 1
    np.savez(tmp_path / "chest.npz", train_images=IMAGES, train_labels=several)
    fails(r"train_labels: has shape \(12, 14\).*several labels an example", files.read_npz, tmp_path / "chest.npz")
    np.savez(tmp_path / "hot.npz", images=IMAGES, labels=np.eye(3)[LABELS])
    fails(r"one-hot labels: y.argmax\(1\)", files.read_npz, tmp_path / "hot.npz")


# --- bad files


def test_bad_images_are_named(folder):
    bad = folder / "dog" / "zzz.png"
    Image.fromarray(IMAGES[0]).save(bad)
    bad.write_bytes(bad.read_bytes()[:60])
    fails("zzz.png: not a readable image", read_image_folder, folder)
    bad.write_bytes(b"")
    fails("zzz.png: not a readable image", read_image_folder, folder)
    bad.write_bytes(b"hello")
    fails("zzz.png: not a readable image", read_image_folder, folder)


@pytest.mark.parametrize("side, message", [(40_000, "decompression bomb"), (9_000, "is of 9000 x 9000 pixels")])
def test_an_image_that_claims_to_be_huge_is_refused_unpacked(folder, side, message, recwarn):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    (folder / "emu" / "zzz.png").write_bytes(content)
    fails(f"zzz.png: .*{message}", read_image_folder, folder)


def test_a_folder_larger_than_the_cap_is_refused(folder, monkeypatch):
    monkeypatch.setattr(arrays, "MAX_BYTES", 239)
    fails("240 bytes; at most 239", read_image_folder, folder)
