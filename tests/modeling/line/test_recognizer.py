"""CRNN, RARE and STAR: sizes of the published readers, shapes, losses, learning lines by heart."""

import numpy as np
import pytest
import torch

from graphkd.errors import UserError
from graphkd.modeling.network import is_untrained
from tests.reader import (
    SMALL,
    TEXTS,
    convolution_macs,
    line_batch,
    line_item,
    published,
    reader,
    values,
)

DEAD = ("MODEL.READER.COMPAT.DEAD_BLOCKS", "True")
KINDS = (("CRNN", ()), ("RARE", ()), ("RARE", ("MODEL.READER.RECTIFY", "True")), ("STAR", ()))

# Values and GMAC of lightweight-OCR's models, with 3,938 characters.
FINGERPRINTS = [
    ("crnn_MV3s", (), 1_538_241, 0.097),
    ("crnn_MV3s_CA", (), 1_177_804, None),
    ("crnn_MV3s_ACON", (), 1_872_841, None),
    ("crnn_MV3s_A", (), 1_044_961, None),
    ("crnn_MV3s_A", DEAD, 1_638_145, 0.224),
    ("crnn_MV3s_A_blur", DEAD, 1_638_145, None),
    ("crnn_MV3l05_A", (), 1_680_649, None),
    ("crnn_MV3l05_A", DEAD, 2_098_169, 0.186),
    ("crnn_MV3s_B", (), 1_657_761, 0.231),
    ("crnn_MV3s_C", (), 1_614_849, 0.221),
    ("crnn_MV3s_D", (), 1_909_185, 0.446),
    ("crnn_MV3l05_D", (), 2_068_169, 0.413),
    ("crnn_R18_h64", (), 12_014_403, 5.378),
    ("crnn_R18_h48", (), 11_795_811, None),
    ("crnn_R18SE_h64", (), 12_364_963, None),
    ("crnn_R18SE_h48", (), 12_146_371, None),
    ("crnn_R18_h64_pruned", (), 2_215_209, 0.535),
    ("rare_MV3s05", (), 860_500, None),
    ("star_MV3s_B", (), 1_767_023, None),
    ("star_MV3s_B", ("MODEL.READER.COMPAT.TPS_LINEAR", "False"), 1_766_777, None),
]


@pytest.mark.parametrize(("name", "options", "count", "gmac"), FINGERPRINTS)
def test_models_have_the_size_of_the_published_ones(name, options, count, gmac):
    model = published(name, *options)
    assert values(model) == count
    if gmac is not None:
        assert round(convolution_macs(model) / 1e9, 3) == gmac


@pytest.mark.parametrize(
    ("name", "count"),
    [("crnn_MV3s_A", 687_128), ("crnn_MV3s_C", 1_257_016), ("crnn_MV3s_D", 1_551_352)],
)
def test_a_small_charset_makes_a_small_model(name, count):
    assert values(published(name, characters=249)) == count


@pytest.mark.parametrize("kind", ["A", "B", "C", "D"])
@pytest.mark.parametrize("body", ["mobilenet_v3_small", "mobilenet_v3_large", "resnet18"])
def test_levels_frames_and_lengths(kind, body):
    model = reader("CRNN", "MODEL.READER.BODY", body, "MODEL.READER.NECK", kind).eval()
    images = torch.zeros(2, 3, 32, 320, dtype=torch.uint8)
    with torch.no_grad():
        taps = model.body(images.float())
        features = model.neck(taps)
        logits, lengths = model.frames(images, torch.tensor([320, 101]))
    assert [each.shape[2:] for each in taps.values()] == [(8, 160), (4, 160), (2, 160)]
    heights = (2, 2, 2) if kind in "AB" else (8, 4, 2)
    assert [features[f"p{i}"].shape[2:] for i in (3, 4, 5)] == [(h, 160) for h in heights]
    assert features["neck"].shape[2:] == (1, 80)
    assert {name: each.shape[1] for name, each in features.items()} == model.neck.channels
    assert logits.shape == (2, 80, 38) and lengths.tolist() == [80, 26]


@pytest.mark.parametrize("body", ["mobilenet_v3_small", "mobilenet_v3_large", "resnet18_se"])
@pytest.mark.parametrize(("height", "width"), [(32, 64), (32, 2048), (48, 96)])
def test_lines_of_every_size_become_one_row_of_frames(body, height, width):
    model = reader("CRNN", "MODEL.READER.BODY", body, "MODEL.READER.WIDTH", "0.5").eval()
    with torch.no_grad():
        logits, lengths = model.frames(torch.zeros(1, 3, height, width), torch.tensor([1]))
    assert logits.shape == (1, width // 4, 38) and lengths.tolist() == [1]
    tall = reader("CRNN", "MODEL.READER.BODY", body, "MODEL.READER.NECK", "D", *SMALL).eval()
    with torch.no_grad():
        assert tall.neck(tall.body(torch.zeros(1, 3, height, width)))["neck"].shape[2] == 1
    padded = reader("CRNN", "MODEL.READER.LENGTHS", "padded", *SMALL)
    assert padded.lengths(torch.tensor([1]), 16).tolist() == [16]


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_a_step_reaches_every_parameter(kind, options):
    model = reader(kind, *SMALL, *options).train()
    losses = model(line_batch(("one", "a", "000", "two words")))
    (name, loss), *others = losses.items()
    assert not others and name == ("loss_attention" if kind == "RARE" else "loss_ctc")
    assert loss.dtype == torch.float32 and 0 < loss < 1000
    loss.backward()
    assert is_untrained(model.state_dict())
    torch.optim.SGD(model.parameters(), 0.01).step()
    assert not is_untrained(model.state_dict())
    # A rectifier starts with a last layer of zeros, behind which there is no gradient yet.
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key


def test_the_loss_is_in_float32_under_autocast():
    model = reader("CRNN", *SMALL).train()
    batch = line_batch()
    exact = model(batch)["loss_ctc"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = model.features(*model.pixels(batch))
        rough = model(batch)["loss_ctc"]
    assert features["neck"].dtype == torch.bfloat16 and rough.dtype == torch.float32
    assert rough.item() == pytest.approx(exact.item(), rel=0.02) and rough != exact


def test_the_loss_of_a_line_is_a_sum_over_frames_or_a_mean_over_characters():
    batch = line_batch(("one", "seven"))
    whole = reader("CRNN", *SMALL).train()
    parts = [whole([item, item])["loss_ctc"].item() for item in batch]
    model = reader("CRNN", *SMALL, "MODEL.READER.REDUCTION", "symbol").train()
    for item, part in zip(batch, parts, strict=True):
        found = model([item, item])["loss_ctc"].item()
        assert found == pytest.approx(part / len(item["text"]), rel=1e-5)


def test_lines_of_another_height_are_refused():
    with pytest.raises(UserError, match="48 pixels high"):
        reader("CRNN", *SMALL)(line_batch(("one", "two"), height=48))


def test_what_is_right_of_a_line_has_no_influence():
    model = reader("CRNN", *SMALL).eval()
    item = line_item("one")
    dirty = item["image"].clone()
    dirty[:, :, item["line_width"] :] = 77
    with torch.no_grad():
        assert model([item]) == model([{**item, "image": dirty}])
        other = item["image"].clone()
        other[:, :, item["line_width"] - 3] = 77
        changed = model.frames(*model.pixels([{**item, "image": other}]))[0]
        assert not torch.equal(changed, model.frames(*model.pixels([item]))[0])


@pytest.mark.parametrize("kind", ["CRNN", "RARE", "STAR"])
def test_a_result_does_not_depend_on_its_batch(kind):
    model = reader(kind, *SMALL).eval()
    batch = [line_item(text, bucket=None, seed=i) for i, text in enumerate(TEXTS * 2)]
    assert len({item["image"].shape[-1] for item in batch}) > 1
    with torch.no_grad():
        alone = [model([item])[0] for item in batch]
        together = model(batch)
        reverse = model(batch[::-1])[::-1]
    for one, two, three in zip(alone, together, reverse, strict=True):
        assert one["text"] == two["text"] == three["text"]
        assert one["score"] == pytest.approx(two["score"], abs=1e-5)
        assert one["score"] == pytest.approx(three["score"], abs=1e-5)
        assert 0 <= one["score"] <= 1


@pytest.mark.parametrize(
    ("kind", "options", "steps"),
    [("CRNN", ("MODEL.READER.NECK", "C"), 150), ("RARE", (), 250), ("STAR", (), 150)],
)
def test_eight_lines_are_learned_by_heart(kind, options, steps):
    torch.manual_seed(0)
    model = reader(kind, "MODEL.READER.WIDTH", "0.5", "MODEL.READER.HIDDEN", "32", *options)
    batch = line_batch()
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for step in range(steps):
        model.train()
        optimizer.zero_grad()
        sum(model(batch).values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        if step % 10 == 9:
            model.eval()
            with torch.no_grad():
                said = model(batch)
            if [each["text"] for each in said] == list(TEXTS):
                break
    assert [each["text"] for each in said] == list(TEXTS)
    assert np.mean([each["score"] for each in said]) > 0.5


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        ("CRNN", "BODY", "vgg16"),
        ("CRNN", "NECK", "E"),
        ("CRNN", "POOL", "mean"),
        ("CRNN", "ATTENTION", "cbam"),
        ("CRNN", "INNER", "[8, 8]"),
        ("CRNN", "STAGES", "[8, 8, 8, 8]"),
        ("CRNN", "LENGTHS", "all"),
        ("CRNN", "REDUCTION", "mean"),
        ("CRNN", "HIDDEN", "0"),
        ("CRNN", "RECTIFY", "True"),
        ("CRNN", "CHARACTERS", "[]"),
    ],
)
def test_unusable_options_are_refused_by_name(kind, key, value):
    with pytest.raises(UserError, match="CHARSET" if key == "CHARACTERS" else key):
        reader(kind, f"MODEL.READER.{key}", value)
