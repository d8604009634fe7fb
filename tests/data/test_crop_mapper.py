"""Crops as model inputs, and batches of one width."""

from collections import Counter

import numpy as np
import pytest

from graphkd.config import get_cfg
from graphkd.data.crop_mapper import (
    BucketBatches,
    CropMapper,
    add_crop_config,
    batch_size,
    label_rules,
    scoring_batches,
    scoring_loader,
)
from graphkd.errors import UserError
from tests.data.crop_sets import draw


def config(**keys):
    cfg = get_cfg()
    add_crop_config(cfg)
    cfg.INPUT.CROPS.update(keys)
    cfg.INPUT.FORMAT, cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.NUM_WORKERS = "BGR", 4, 0
    return cfg


def line(path, text="some words", **options):
    draw(path, text, **options)
    height = options.get("height", 32)
    width = 12 * len(text) * height // 32
    about = {"file_name": str(path), "image_id": path.name, "height": height, "width": width}
    return {**about, "text": text}


def sized(width, height=32):
    return {"height": height, "width": width}


def test_a_line_becomes_an_input_of_its_bucket(tmp_path):
    own = line(tmp_path / "a.png", height=64)
    item = CropMapper(config(), is_train=False)(own)
    assert item["image"].shape == (3, 32, 128) and item["line_width"] == 120
    assert (item["image"][:, :, 120:] == 0).all() and (item["image"][:, :, :120] > 0).any()
    assert item["text"] == "some words" and "progress" not in item and "image" not in own


def test_channels_follow_the_format(tmp_path):
    from PIL import Image

    own = line(tmp_path / "a.png")
    Image.new("RGB", (120, 32), (250, 0, 10)).save(tmp_path / "a.png")
    cfg = config()
    assert CropMapper(cfg, is_train=False)(own)["image"][:, 0, 0].tolist() == [10, 0, 250]
    cfg.INPUT.FORMAT = "RGB"
    assert CropMapper(cfg, is_train=False)(own)["image"][:, 0, 0].tolist() == [250, 0, 10]
    cfg.INPUT.FORMAT = "L"
    with pytest.raises(UserError, match="FORMAT"):
        CropMapper(cfg, is_train=False)


def test_augmentation_is_for_training_and_keeps_width_and_label(tmp_path):
    own = {**line(tmp_path / "a.png"), "bucket": 160}
    shapes = iter([(32, 400), (32, 8), (32, 120)])

    def augment(picture, rng):
        assert picture.shape == (32, 120, 3)
        return np.full((*next(shapes), 3), rng.integers(200), np.uint8)

    mapper = CropMapper(config(), is_train=True, augment=augment)
    items = [mapper(own, 0.5) for _ in range(3)]
    assert [item["image"].shape[2] for item in items] == [160] * 3
    # The second one was narrower than the ten frames that its label needs.
    assert [item["line_width"] for item in items] == [160, 37, 120]
    assert items[0]["progress"] == 0.5
    assert CropMapper(config(), is_train=False, augment=augment)(own)["line_width"] == 120
    np.random.seed(3)
    shapes = iter([(32, 120)] * 2)
    first = mapper(own)["image"]
    np.random.seed(3)
    assert (mapper(own)["image"] == first).all()


def stream(lines, steps, *, seed=1, **keys):
    batches = BucketBatches(lines, config(**keys), seed=seed)
    return batches, [batches(step) for step in range(steps)]


def test_a_batch_has_one_bucket_and_an_epoch_every_line_once():
    rng = np.random.default_rng(0)
    lines = [sized(int(width)) for width in rng.integers(20, 700, 200)]
    batches, drawn = stream(lines, 500)
    for batch in drawn:
        assert len({lines[index]["bucket"] for _, index in batch}) == 1
        bucket = lines[batch[0][1]]["bucket"]
        assert all(lines[index]["width"] <= bucket for _, index in batch)
        assert len(batch) <= batch_size(bucket, lines=4, width=320)
    for epoch in range(2):
        part = drawn[epoch * batches.per_epoch : (epoch + 1) * batches.per_epoch]
        counts = Counter(index for batch in part for _, index in batch)
        assert counts == {index: 1 for index in range(200)}
    positions = [position for batch in drawn for position, _ in batch]
    assert len(set(positions)) == len(positions)


def test_narrow_lines_come_in_large_batches():
    sizes = [batch_size(bucket, lines=64, width=320) for bucket in (64, 320, 2048)]
    assert sizes == [320, 64, 10]
    assert batch_size(2048, lines=1, width=320) == 1


def test_rare_widths_go_with_the_next_wider_ones():
    lines = [sized(60)] * 3 + [sized(90)] * 2 + [sized(150)] * 100 + [sized(1000)]
    lines = [dict(each) for each in lines]
    _, drawn = stream(lines, 14)
    assert {each["bucket"] for each in lines} == {160, 1216}
    assert sorted({len(batch) for batch in drawn}) == [1, 7, 8]
    few = [sized(60) for _ in range(50)] + [sized(600)]
    batches, drawn = stream(few, 5, BATCH_WIDTH=608)
    # Three lines of the narrow bucket fill the batch of the one long line.
    assert sorted(Counter(each["bucket"] for each in few).items()) == [(64, 47), (608, 4)]
    assert batches.per_epoch == 3 and sorted(map(len, drawn[:3])) == [4, 23, 24]
    eight = [dict(sized(width)) for width in (30, 60, 90, 100, 200, 220, 250, 256)]
    batches, drawn = stream(eight, 3, BATCH_WIDTH=512)
    assert batches.per_epoch == 1 and len(drawn[0]) == 8


def test_a_resumed_stream_and_another_seed():
    lines = [sized(width) for width in range(20, 700, 5)]
    _, drawn = stream(lines, 60)
    again = BucketBatches(lines, config(), seed=1)
    assert [again(step) for step in (59, 3, 41)] == [drawn[59], drawn[3], drawn[41]]
    assert stream(lines, 60, seed=2)[1] != drawn


def test_scoring_batches_hold_every_line_once():
    lines = [sized(width) for width in (600, 30, 40, 610, 50, 20, 60)]
    batches = scoring_batches(lines, height=32, size=1)
    assert batches == [[1, 2, 4, 5, 6], [0], [3]]


def test_the_scoring_loader_divides_batches_between_processes(tmp_path):
    texts = ("a bc", "some words", "de f", "a somewhat longer line")
    lines = [line(tmp_path / f"{i}.png", text) for i, text in enumerate(texts)]
    cfg = config()
    mapper = CropMapper(cfg, is_train=False)
    parts = [
        [item["image_id"] for batch in scoring_loader(cfg, lines, mapper, rank=rank, world=2)
         for item in batch]
        for rank in (0, 1)
    ]  # fmt: skip
    assert sorted(parts[0] + parts[1]) == ["0.png", "1.png", "2.png", "3.png"]
    assert parts[0] == ["0.png", "2.png", "3.png"]


def test_keys_become_rules():
    rules = label_rules(config(UNKNOWN="drop_char", MAX_WIDTH=160, HALF_WIDTH=True))
    assert (rules.unknown, rules.max_width, rules.half_width) == ("drop_char", 160, True)
    with pytest.raises(UserError, match="HEIGHT is 4"):
        label_rules(config(HEIGHT=4))
