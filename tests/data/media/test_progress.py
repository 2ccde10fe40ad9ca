from __future__ import annotations

from rosenblatt.data.media.images import ImageDataset, encode_image
from rosenblatt.data.media.progress import report_read, watch_reading
from tests.data.media.test_images import COLORS


def test_images_that_are_read_at_once_are_counted_while_someone_watches():
    seen = []
    with watch_reading(lambda *counts: seen.append(counts)):
        ImageDataset([encode_image(COLORS)] * 600, 4, 3, "resize", "uint8", (0.0,) * 3, (1.0,) * 3)
    report_read(1, 1)
    assert seen == [(512, 600), (88, 600)]
