"""Fits to volumes of images: they stream, and what is damaged is named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rosenblatt.data.encoding import media_encodings
from rosenblatt.data.media.contents import cell_name
from rosenblatt.data.readers.read import read_table
from rosenblatt.data.splits import train_test_split
from rosenblatt.data.volumes.storage import pack_writer
from rosenblatt.data.volumes.streaming import passes
from rosenblatt.errors import TableError
from rosenblatt.models.model_file import load_model, to_bytes
from rosenblatt.spec.spec import Spec
from rosenblatt.workflows.fit import fit
from rosenblatt.workflows.predict import evaluate
from rosenblatt.workflows.volume_inputs import read_volume
from tests.data.volumes.helpers import add_path

pytestmark = pytest.mark.torch

IMAGES = Spec.from_hyperparameters(kind="cnn", epochs=2, members=1, channels=(2,), image_size=8, batch_size=8, seed=3)


def _fit(name, spec=IMAGES, notify=lambda _: None, **options):
    return fit(read_volume(name), ["label"], spec, notify=notify, **options)


def test_a_fit_that_streams_through_a_small_cache_gives_the_model_of_images_in_memory(
    tmp_path, make_photos, s3_root, s3_proxy, monkeypatch
):
    monkeypatch.setattr(pack_writer, "MAX_PACK_BYTES", 3000)
    monkeypatch.setattr(passes, "AHEAD_BYTES", 0)
    monkeypatch.setenv("ROSENBLATT_CACHE", str(tmp_path / "cache"))
    add_path(s3_root, "photos", make_photos(tmp_path / "photos", {"cat": 40, "dog": 40}))
    spec = IMAGES.replace(shuffle_window_gb=1e-5)
    in_memory = _fit(f"{s3_root}/photos@1", spec)
    s3_proxy.clear()
    monkeypatch.setattr(media_encodings, "free_memory", lambda: 0)
    monkeypatch.setenv("ROSENBLATT_CACHE", str(tmp_path / "small cache"))
    monkeypatch.setenv("ROSENBLATT_CACHE_GB", "0.00006")
    streamed = _fit(f"{s3_root}/photos@1", spec)
    assert np.array_equal(streamed.model.networks[0].theta, in_memory.model.networks[0].theta)
    assert [score.model for score in streamed.scores] == [score.model for score in in_memory.scores]


def _add_and_read(folder, root):
    add_path(str(root), "photos", folder)
    return read_volume(f"{root}/photos")


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-60])  # the header stays


def test_a_truncated_training_image_ends_a_fit_by_name(tmp_path, make_photos):
    photos = make_photos(tmp_path / "photos", {"cat": 20, "dog": 20})
    for path in photos.glob("cat/*.png"):
        _truncate(path)
    add_path(str(tmp_path / "v"), "photos", photos)
    with pytest.raises(TableError, match=r"cat/\d+\.png of photos@1 cannot be read"):
        _fit(f"{tmp_path}/v/photos@1")


def test_a_truncated_test_image_is_left_out_and_named(tmp_path, make_photos):
    photos = make_photos(tmp_path / "photos", {"cat": 20, "dog": 20})
    table = _add_and_read(photos, tmp_path / "v")
    _, held_out = train_test_split(40, IMAGES.data.test_fraction, IMAGES.training.seed, np.repeat([0, 1], 20))
    path = photos / cell_name(table.frame["image"][int(held_out[0])]).split(" ")[0]
    _truncate(path)
    _add_and_read(photos, tmp_path / "v")
    messages = []
    result = _fit(f"{tmp_path}/v/photos@2", notify=messages.append)
    (message,) = [message for message in messages if "damaged image" in message]
    assert f"1 damaged image left out: '{path.parent.name}/{path.name} of photos@2'" in message
    assert result.model.metadata.test_rows == len(held_out) - 1


def test_images_of_a_folder_are_recognized_by_a_model_of_the_volume_and_the_reverse(tmp_path, make_photos):
    photos = make_photos(tmp_path / "photos", {"cat": 20, "dog": 20})
    volume = _add_and_read(photos, tmp_path / "v")
    folder = read_table(photos)
    folder = replace(folder, frame=folder.frame.rename({"class": "label"}).select("label", "image"))
    spec = IMAGES.replace(test_fraction=0)
    for trained, other in ((volume, folder), (folder, volume)):
        (tmp_path / "m").write_bytes(to_bytes(fit(trained, ["label"], spec, notify=lambda _: None).model))
        _, evaluation = evaluate(load_model(tmp_path / "m"), other, notify=lambda _: None)
        assert (evaluation.overlap.rows, evaluation.overlap.seen) == (40, 40)
