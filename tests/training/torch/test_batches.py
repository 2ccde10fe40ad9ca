"""Batches as tensors: augmented images, compared with NumPy, and sequences of different lengths."""

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from rosenblatt.data.media.images import ImageDataset, encode_image
from rosenblatt.training.rows import MediaRows
from rosenblatt.training.torch.batches import DeviceTable
from rosenblatt.training.torch.sampling import AugmentationConfig, Augmentations, EpochBatches
from tests.training.media import make_member, make_rows

pytestmark = pytest.mark.torch

CPU = torch.device("cpu")
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 7, 3)).astype(np.uint8)
NO_AUGMENTATION = Augmentations(None, None, None, None, None)
NO_AUGMENTATION_CONFIG = AugmentationConfig(
    "in_order", has_shift_or_flip=False, has_color_jitter=False, has_rotation=False, has_mixup=False, cutout=0.0
)


@pytest.fixture(params=[np.inf, 0], ids=["in memory", "streamed"])
def device_table(request):
    dataset = ImageDataset(
        [encode_image(pixels) for pixels in PIXELS], 7, 3, "resize", "uint8", (0.0,) * 3, (1.0,) * 3, request.param
    )
    member = make_member("cnn", 0, *make_rows("cnn"))
    ones = np.ones((5, 1), np.float32)
    return DeviceTable(MediaRows(np.empty((5, 0), np.float32), (dataset,), ones, ones[:, 0]), member.architecture, CPU)


def images(device_table, augmentation=NO_AUGMENTATION_CONFIG, rows=(3, 0, 4), mixup_weight=None, **fields):
    """Return the images (B, H, W, C) of a batch, and the batch."""
    index = torch.tensor(rows)[None, None]
    augmentations = NO_AUGMENTATION._replace(
        **{name: torch.as_tensor(value)[None, None] for name, value in fields.items()}
    )
    mixup_weights = None if mixup_weight is None else torch.tensor([[mixup_weight]])
    epoch_batches = EpochBatches(
        index, torch.ones(1, 1, len(rows)), torch.zeros(1, 1, dtype=torch.int32), mixup_weights, (augmentations,)
    )
    batch, _ = next(device_table.batches(epoch_batches, augmentation))
    return batch.media[0][0].permute(0, 2, 3, 1).numpy(), batch


def test_images_without_augmentation_are_unchanged(device_table):
    np.testing.assert_array_equal(images(device_table)[0], PIXELS[[3, 0, 4]])


def test_images_are_flipped_and_shifted_with_reflected_borders(device_table):
    shift, flip = [[2, -1], [0, 0], [-3, 3]], [False, True, True]
    result, _ = images(device_table, flip=flip, shift=shift)
    for actual, row, (down, right), flipped in zip(result, (3, 0, 4), shift, flip, strict=True):
        padded = np.pad(PIXELS[row], ((3, 3), (3, 3), (0, 0)), mode="reflect")
        expected = padded[3 + down : 10 + down, 3 + right : 10 + right]
        if flipped:  # images are flipped before they are shifted
            expected = np.pad(PIXELS[row], ((3, 3), (3, 3), (0, 0)), mode="reflect")[3 + down : 10 + down]
            columns = [6 - abs(k) if k < 7 else 6 - (12 - k) for k in range(right, 7 + right)]
            expected = expected[:, [3 + column for column in columns]]
        np.testing.assert_array_equal(actual, expected)


def test_cutout_sets_a_square_to_the_mean(device_table):
    result, _ = images(
        device_table, NO_AUGMENTATION_CONFIG._replace(cutout=3 / 7), cutout_center=[[0.5, 0.5], [0.0, 0.0], [0.5, 1.0]]
    )
    middle = PIXELS[3].astype(float)
    middle[2:5, 2:5] = 0
    np.testing.assert_array_equal(result[0], middle)
    assert (result[1][:1, :1] == 0).all()
    np.testing.assert_array_equal(result[1][2:, 2:], PIXELS[0][2:, 2:])
    assert (result[2][2:5, 6:] == 0).all()


def test_color_jitter_changes_contrast_and_levels(device_table):
    jitter = np.array([[0.5, 1.0, 0.0, -1.0]] * 3, np.float32)
    result, _ = images(device_table, jitter=jitter)
    np.testing.assert_allclose(result, 1.5 * PIXELS[[3, 0, 4]] + [1.0, 0.0, -1.0], rtol=1e-6)


def test_images_are_rotated(device_table):
    result, _ = images(device_table, angle=np.array([np.pi / 2, 0, np.pi], np.float32))
    np.testing.assert_allclose(result[0], np.rot90(PIXELS[3]), atol=0.01)
    np.testing.assert_allclose(result[1], PIXELS[0], atol=0.01)
    np.testing.assert_allclose(result[2], np.rot90(PIXELS[4], 2), atol=0.01)


def test_mixup_mixes_each_row_with_the_one_before_it(device_table):
    result, batch = images(device_table, mixup_weight=0.75)
    np.testing.assert_allclose(result, 0.75 * PIXELS[[3, 0, 4]] + 0.25 * PIXELS[[4, 3, 0]])
    assert batch.mixup_weight.item() == 0.75


def test_sequences_are_zero_padded_and_those_of_equal_length_need_no_lengths():
    rows, _ = make_rows("gru")
    member = make_member("gru", 0, *make_rows("gru"))
    device_table, ragged = DeviceTable(rows, member.architecture, CPU), rows.media[0]
    index = np.argsort(ragged.lengths, kind="stable")
    mixed = device_table.batch_without_augmentation([index[[0, -1, 50]]])
    for row, source_row in enumerate(index[[0, -1, 50]]):
        length = ragged.lengths[source_row]
        steps = ragged.values[ragged.starts[source_row] : ragged.starts[source_row + 1]]
        np.testing.assert_array_equal(mixed.media[0][0, row, :length], steps)
        assert not mixed.media[0][0, row, length:].any()
        assert mixed.lengths[0][0, row] == length
    equal_length = np.flatnonzero(ragged.lengths == 4)[:3]
    assert device_table.batch_without_augmentation([equal_length]).lengths == (None,)
    assert device_table.batch_without_augmentation([equal_length]).media[0].shape[2] == 4
