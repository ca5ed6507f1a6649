"""The segmenter over fake sessions that draw exactly what they are asked for."""

from __future__ import annotations

from typing import Any, Literal

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from t2s_rt.backends import DeviceArray, FakeSession, fake_entry
from t2s_rt.errors import InternalError
from t2s_rt.models import MaskSet, Segmenter
from t2s_rt.models.frames import FrameMap
from t2s_rt.models.local import LocalWindows

Arrays = dict[str, NDArray[Any]]
FRAME, LOW = 128, 32


def encode(feeds: Arrays) -> Arrays:
    """The mean of each 16 x 16 block of the frame."""
    pixels = feeds["image"].astype(np.float32)
    blocks = pixels.reshape(1, 8, 16, 8, 16, 3).mean(axis=(2, 4))
    return {"image_embedding": np.ascontiguousarray(blocks.transpose(0, 3, 1, 2))}


def draw(feeds: Arrays) -> Arrays:
    """Masks of exactly the prompted box: 1 inside, -1 outside; mask k is k pixels larger.

    As SAM's prompt encoder, it adds half a pixel to every coordinate.
    """
    coords = feeds["point_coords"] + 0.5
    count = len(coords)
    logits = np.full((count, 4, LOW, LOW), -1, np.float32)
    rows, cols = np.indices((LOW, LOW)) * (FRAME / LOW) + FRAME / LOW / 2
    for n in range(count):
        corners = coords[n][np.isin(feeds["point_labels"][n], (2, 3))]
        if len(corners) == 2:
            (x0, y0), (x1, y1) = corners
            for k in range(4):
                inside = (cols > x0 - 4 * k) & (cols < x1 + 4 * k)
                inside &= (rows > y0 - 4 * k) & (rows < y1 + 4 * k)
                logits[n, k][inside] = 1
    iou = np.tile(np.array([0.5, 0.1, 0.9, 0.3], np.float32), (count, 1))
    iou[:, 0] = coords[:, 0, 0]  # lets tests see which prompt is which
    return {"mask_logits": logits, "iou": iou}


def segmenter(chunk: int = 32, **sizes: int) -> tuple[Segmenter, FakeSession, FakeSession]:
    encoder = FakeSession(fake_entry("mask_encoder", H=FRAME, W=FRAME, C=3, h=8, w=8, B=1), encode)
    decoder = FakeSession(fake_entry("mask_decoder", C=3, h=8, w=8, **sizes), draw)
    return Segmenter(encoder, decoder, chunk=chunk), encoder, decoder


def tile(height: int = 64, width: int = 64) -> NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_the_embedding_is_of_the_tile() -> None:
    made, _, _ = segmenter()
    blocks = np.random.default_rng(4).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    image = np.repeat(np.repeat(blocks, 32, axis=0), 32, axis=1)  # twice the frame: area means
    embedding = made.encode(image)
    assert embedding.tile_size == (256, 256)
    assert isinstance(embedding.array, np.ndarray)
    np.testing.assert_allclose(embedding.array[0], blocks.transpose(2, 0, 1))


EIGHTHS = st.integers(0, 8)


@given(EIGHTHS, EIGHTHS, EIGHTHS, EIGHTHS, st.sampled_from([(64, 64), (64, 48), (40, 64)]))
@settings(deadline=None, max_examples=60)
def test_a_boxs_mask_covers_the_box(a: int, b: int, c: int, d: int, size: tuple[int, int]) -> None:
    """Through tile to frame, decoder, and back to the tile: the drawn box is the asked box."""
    height, width = size
    x0, x1 = sorted((a * width / 8, b * width / 8))
    y0, y1 = sorted((c * height / 8, d * height / 8))
    made, _, _ = segmenter()
    masks = made.decode_boxes(made.encode(tile(height, width)), np.array([[x0, y0, x1, y1]]))
    low = masks.to_tile(masks.best(multimask=False)[0][0])
    mask = low > 0
    expected = np.zeros(size, bool)
    expected[round(y0) : round(y1), round(x0) : round(x1)] = True
    # along an edge a mask at low resolution is good to half a low-resolution pixel
    step = int(np.ceil(max(64, *size) / LOW)) + 1
    kernel = np.ones((2 * step + 1, 2 * step + 1), np.uint8)
    grown = cv2.dilate(expected.astype(np.uint8), kernel) > 0
    shrunk = cv2.erode(expected.astype(np.uint8), kernel, borderValue=1) > 0
    assert not (mask & ~grown).any()
    if min(x1 - x0, y1 - y0) > 4 * step:
        assert not (shrunk & ~mask).any()


def test_the_decoder_gets_pixel_indices() -> None:
    """The graph adds half a pixel as SAM does, so it is given coordinates minus that half."""
    made, _, decoder = segmenter()
    embedding = made.encode(tile())
    made.decode_boxes(embedding, np.array([[8.0, 16, 24, 32]]))
    np.testing.assert_allclose(decoder.calls[0]["point_coords"], [[[15.5, 31.5], [47.5, 63.5]]])
    assert decoder.calls[0]["point_labels"].tolist() == [[2, 3]]
    assert decoder.calls[0]["image_embedding"] is not embedding.array


def test_on_a_device_the_embedding_never_visits_the_host() -> None:
    here, _, _ = segmenter()
    encoder = FakeSession(
        fake_entry("mask_encoder", H=FRAME, W=FRAME, C=3, h=8, w=8, B=1), encode, device="cuda"
    )
    decoder = FakeSession(fake_entry("mask_decoder", C=3, h=8, w=8), draw, device="cuda")
    made = Segmenter(encoder, decoder)
    embedding, boxes = made.encode(tile()), np.array([[8.0, 16, 24, 32]])
    assert isinstance(embedding.array, DeviceArray)
    embedding.array._read = None  # from here on a copy to the host would fail
    found, expected = (
        made.decode_boxes(embedding, boxes),
        here.decode_boxes(here.encode(tile()), boxes),
    )
    np.testing.assert_array_equal(found.logits, expected.logits)
    assert encoder.kept == [{"image_embedding"}]
    assert decoder.kept == [frozenset()]


def test_points_get_sams_padding_point_and_boxes_do_not() -> None:
    made, _, decoder = segmenter()
    embedding = made.encode(tile())
    made.decode(embedding, np.full((2, 1, 2), 10.0), np.ones((2, 1)))
    assert decoder.calls[0]["point_labels"].tolist() == [[1, -1], [1, -1]]
    assert decoder.calls[0]["point_coords"][0].tolist() == [[19.5, 19.5], [0, 0]]
    # a prompt that is padded already needs no second padding point
    made.decode(embedding, np.full((1, 2, 2), 10.0), np.array([[1.0, -1]]))
    assert decoder.calls[1]["point_labels"].tolist() == [[1, -1]]
    assert decoder.calls[1]["point_coords"][0, 1].tolist() == [0, 0]


@pytest.mark.parametrize("count", [0, 1, 5, 7, 8, 17])
@pytest.mark.parametrize("static", [None, 7])
def test_chunks_keep_order_and_bound(count: int, static: int | None) -> None:
    sizes = {} if static is None else {"N": static}
    made, _, decoder = segmenter(chunk=7, **sizes)
    embedding = made.encode(tile())
    boxes = np.zeros((count, 4), np.float32)
    boxes[:, 0] = np.arange(count)
    boxes[:, 2:] = 60
    masks = made.decode_boxes(embedding, boxes)
    assert len(masks) == count and masks.logits.shape[1:] == (1, LOW, LOW)
    np.testing.assert_allclose(masks.iou[:, 0], 2.0 * np.arange(count))
    assert max((len(call["point_coords"]) for call in decoder.calls), default=0) <= 7
    assert len(decoder.calls) == -(-count // 7)
    chunks = list(made.decode_chunks(embedding, boxes.reshape(-1, 2, 2), np.ones((count, 2))))
    assert [len(chunk) for chunk in chunks] == [min(7, count - i) for i in range(0, count, 7)]


@pytest.mark.parametrize(("device", "calls"), [("cpu", [4, 4, 1]), ("cuda", [9])])
def test_a_call_holds_as_many_prompts_as_suit_the_device(
    device: Literal["cpu", "cuda"], calls: list[int]
) -> None:
    encoder = FakeSession(fake_entry("mask_encoder", H=FRAME, W=FRAME, C=3, h=8, w=8, B=1), encode)
    decoder = FakeSession(fake_entry("mask_decoder", C=3, h=8, w=8), draw, device=device)
    made = Segmenter(encoder, decoder)
    boxes = np.tile(np.array([0, 0, 60, 60], np.float32), (9, 1))
    made.decode_boxes(made.encode(tile()), boxes)
    assert [len(call["point_coords"]) for call in decoder.calls] == calls


def test_a_static_number_of_points_is_padded() -> None:
    made, _, decoder = segmenter(P=4)
    embedding = made.encode(tile())
    made.decode(embedding, np.full((1, 1, 2), 10.0), np.ones((1, 1)))
    assert decoder.calls[0]["point_labels"].tolist() == [[1, -1, -1, -1]]
    with pytest.raises(InternalError, match="at most 4 points in one prompt, found 5"):
        made.decode(embedding, np.full((1, 4, 2), 10.0), np.ones((1, 4)))


def test_best_takes_mask_0_or_the_best_alternative() -> None:
    made, _, _ = segmenter()
    corners, labels = np.array([[[20.0, 20], [40, 40]]]), np.array([[2.0, 3]])
    masks = made.decode(made.encode(tile()), corners, labels)
    single, iou = masks.best(multimask=False)
    np.testing.assert_array_equal(single, masks.logits[:, 0])
    assert iou.tolist() == [40.0]  # mask 0's, though it is not the one with the highest IoU
    multi, iou = masks.best(multimask=True)
    np.testing.assert_array_equal(multi, masks.logits[:, 2])
    np.testing.assert_allclose(iou, [0.9])


def test_best_never_takes_mask_0_as_an_alternative() -> None:
    iou = np.array([[9.0, 0.1, 0.2, 0.3]], np.float32)
    masks = MaskSet(np.zeros((1, 4, 2, 2), np.float32), iou, FrameMap.fit((8, 8), (8, 8)))
    np.testing.assert_allclose(masks.best(multimask=True)[1], [0.3])


@pytest.mark.parametrize(
    ("coords", "labels"),
    [((3, 2, 2), (3, 1)), ((3, 2), (3, 2)), ((3, 2, 3), (3, 2)), ((2, 2), (2,))],
)
def test_prompts_that_do_not_fit_are_refused(
    coords: tuple[int, ...], labels: tuple[int, ...]
) -> None:
    made, _, _ = segmenter()
    with pytest.raises(InternalError, match=r"expected point_coords \[N, P, 2\]"):
        made.decode(made.encode(tile()), np.zeros(coords), np.zeros(labels))


def draw_local(feeds: Arrays) -> Arrays:
    """:func:`draw` on windows of 4 x 4 of the frame's 8 x 8 image tokens."""
    whole = draw(feeds)
    cut = [
        maps[:, 4 * row : 4 * row + 16, 4 * column : 4 * column + 16]
        for maps, (row, column) in zip(whole["mask_logits"], feeds["window"], strict=True)
    ]
    return {"mask_logits": np.stack(cut), "iou": whole["iou"] + 1000}


def local_segmenter(**sizes: int) -> tuple[Segmenter, FakeSession, FakeSession]:
    encoder = FakeSession(fake_entry("mask_encoder", H=FRAME, W=FRAME, C=3, h=8, w=8, B=1), encode)
    decoder = FakeSession(fake_entry("mask_decoder", C=3, h=8, w=8), draw)
    local = FakeSession(fake_entry("mask_decoder_local", C=3, h=8, w=8, S=4, **sizes), draw_local)
    return Segmenter(encoder, decoder, local), decoder, local


def test_small_boxes_go_to_the_local_decoder_and_the_masks_are_the_same() -> None:
    made, decoder, local = local_segmenter()
    plain, _, _ = segmenter()
    # frame pixels are twice the tile's; 48 of them is the largest side for a window of 64
    boxes = np.array([[0, 0, 8, 8], [2, 4, 62, 50], [50, 56, 64, 64], [20, 12, 44, 36]], np.float32)
    embedding = made.encode(tile())
    masks = made.decode_boxes(embedding, boxes)
    expected = plain.decode_boxes(embedding, boxes)
    np.testing.assert_array_equal(masks.logits > 0, expected.logits > 0)
    assert (masks.iou[:, 0] > 999).tolist() == [True, False, True, True]
    assert [len(call["window"]) for call in local.calls] == [3]
    assert local.calls[0]["window"].tolist() == [[0, 0], [4, 4], [1, 2]]
    assert [len(call["point_coords"]) for call in decoder.calls] == [1]
    assert len(made.decode_boxes(embedding, np.zeros((0, 4)))) == 0
    assert [session.entry.role for session in made.sessions][2] == "mask_decoder_local"


@pytest.mark.parametrize("sizes", [{"N": 2}, {"N": 5, "P": 3}])
def test_a_static_local_decoder_gets_what_it_asks_for(sizes: dict[str, int]) -> None:
    made, _, local = local_segmenter(**sizes)
    plain, _, _ = segmenter()
    embedding = made.encode(tile())
    boxes = np.array([[0, 0, 8, 8], [50, 56, 64, 64], [20, 12, 44, 36]], np.float32)
    masks = made.decode_boxes(embedding, boxes)
    expected = plain.decode_boxes(embedding, boxes)
    np.testing.assert_array_equal(masks.logits > 0, expected.logits > 0)
    assert {len(call["window"]) for call in local.calls} == {sizes["N"]}


@given(
    centre=st.tuples(st.floats(0, 576), st.floats(0, 576)),
    # a hair under 192: the difference of two corners is rounded
    sides=st.tuples(st.floats(1, 191.999), st.floats(1, 191.999)),
)
def test_a_window_holds_its_box(centre: tuple[float, float], sides: tuple[float, float]) -> None:
    windows = LocalWindows((72, 72), 32, 8.0)
    (x, y), (width, height) = centre, sides
    corners = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    box = np.clip(np.array([corners]), 0, 576)
    assert windows.fit(box).all()
    ((row, column),) = windows.place(box).tolist()
    assert 0 <= row <= 40 and 0 <= column <= 40
    x0, y0, x1, y1 = box[0] / 8
    assert column <= x0 and x1 <= column + 32 and row <= y0 and y1 <= row + 32
    assert not windows.fit(np.array([[0, 0, 193.0, 10]])).any()
