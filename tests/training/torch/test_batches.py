"""Batches as tensors: images that are changed, against NumPy; sequences of unequal length."""

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from rosenblatt.data.media.images import Pictures, as_cell
from rosenblatt.training.rows import MediaRows
from rosenblatt.training.torch.batches import Resident
from rosenblatt.training.torch.sampling import Changes, Dealt, Way
from tests.training.media import member_of, rows_of

pytestmark = pytest.mark.torch

CPU = torch.device("cpu")
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 7, 3)).astype(np.uint8)
NOT = Changes(None, None, None, None, None)
PLAIN = Way("in_order", moves=False, recolors=False, turns=False, mixes=False, cutout=0.0)


@pytest.fixture(params=[np.inf, 0], ids=["held", "streamed"])
def resident(request):
    pictures = Pictures(
        [as_cell(one) for one in PIXELS], 7, 3, "resize", "uint8", (0.0,) * 3, (1.0,) * 3, request.param
    )
    member = member_of("cnn", 0, *rows_of("cnn"))
    ones = np.ones((5, 1), np.float32)
    return Resident(MediaRows(np.empty((5, 0), np.float32), (pictures,), ones, ones[:, 0]), member.architecture, CPU)


def images(resident, way=PLAIN, rows=(3, 0, 4), share=None, **changed):
    """The images (B, H, W, C) of a batch."""
    index = torch.tensor(rows)[None, None]
    changes = NOT._replace(**{name: torch.as_tensor(value)[None, None] for name, value in changed.items()})
    part = None if share is None else torch.tensor([[share]])
    dealt = Dealt(index, torch.ones(1, 1, len(rows)), torch.zeros(1, 1, dtype=torch.int32), part, (changes,))
    batch, _ = next(resident.batches(dealt, way))
    return batch.media[0][0].permute(0, 2, 3, 1).numpy(), batch


def test_images_come_as_they_are(resident):
    np.testing.assert_array_equal(images(resident)[0], PIXELS[[3, 0, 4]])


def test_images_are_moved_and_mirrored_with_margins_that_are_mirrored(resident):
    move, flip = [[2, -1], [0, 0], [-3, 3]], [False, True, True]
    found, _ = images(resident, flip=flip, move=move)
    for ours, row, (down, right), mirror in zip(found, (3, 0, 4), move, flip, strict=True):
        wide = np.pad(PIXELS[row], ((3, 3), (3, 3), (0, 0)), mode="reflect")
        expected = wide[3 + down : 10 + down, 3 + right : 10 + right]
        if mirror:  # of the picture, which then is moved
            expected = np.pad(PIXELS[row], ((3, 3), (3, 3), (0, 0)), mode="reflect")[3 + down : 10 + down]
            columns = [6 - abs(k) if k < 7 else 6 - (12 - k) for k in range(right, 7 + right)]
            expected = expected[:, [3 + column for column in columns]]
        np.testing.assert_array_equal(ours, expected)


def test_a_square_is_cut_out_and_set_to_the_mean(resident):
    found, _ = images(resident, PLAIN._replace(cutout=3 / 7), hole=[[0.5, 0.5], [0.0, 0.0], [0.5, 1.0]])
    middle = PIXELS[3].astype(float)
    middle[2:5, 2:5] = 0
    np.testing.assert_array_equal(found[0], middle)
    assert (found[1][:1, :1] == 0).all()
    np.testing.assert_array_equal(found[1][2:, 2:], PIXELS[0][2:, 2:])
    assert (found[2][2:5, 6:] == 0).all()


def test_colors_change_by_contrast_and_shift(resident):
    jitter = np.array([[0.5, 1.0, 0.0, -1.0]] * 3, np.float32)
    found, _ = images(resident, jitter=jitter)
    np.testing.assert_allclose(found, 1.5 * PIXELS[[3, 0, 4]] + [1.0, 0.0, -1.0], rtol=1e-6)


def test_images_are_turned(resident):
    found, _ = images(resident, angle=np.array([np.pi / 2, 0, np.pi], np.float32))
    np.testing.assert_allclose(found[0], np.rot90(PIXELS[3]), atol=0.01)
    np.testing.assert_allclose(found[1], PIXELS[0], atol=0.01)
    np.testing.assert_allclose(found[2], np.rot90(PIXELS[4], 2), atol=0.01)


def test_each_row_is_mixed_with_the_one_before_it(resident):
    found, batch = images(resident, share=0.75)
    np.testing.assert_allclose(found, 0.75 * PIXELS[[3, 0, 4]] + 0.25 * PIXELS[[4, 3, 0]])
    assert batch.share.item() == 0.75


def test_sequences_end_in_zeros_and_those_of_one_length_have_no_mask():
    rows, _ = rows_of("gru")
    member = member_of("gru", 0, *rows_of("gru"))
    resident, ragged = Resident(rows, member.architecture, CPU), rows.media[0]
    index = np.argsort(ragged.lengths, kind="stable")
    mixed = resident.plain([index[[0, -1, 50]]])
    for row, number in enumerate(index[[0, -1, 50]]):
        many = ragged.lengths[number]
        steps = ragged.values[ragged.starts[number] : ragged.starts[number + 1]]
        np.testing.assert_array_equal(mixed.media[0][0, row, :many], steps)
        assert not mixed.media[0][0, row, many:].any()
        assert mixed.lengths[0][0, row] == many
    alike = np.flatnonzero(ragged.lengths == 4)[:3]
    assert resident.plain([alike]).lengths == (None,)
    assert resident.plain([alike]).media[0].shape[2] == 4
