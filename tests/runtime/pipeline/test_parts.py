"""Stores, journal, work folder, layout and blending, each by itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t2s_rt.errors import OutputError, SceneError, UsageError
from t2s_rt.pipeline import find_scenes
from t2s_rt.pipeline.blend import blend, resample
from t2s_rt.pipeline.journal import Journal, TileRecord, run_key
from t2s_rt.pipeline.layout import Layout
from t2s_rt.pipeline.settings import PipelineSettings
from t2s_rt.pipeline.store import DiskStore, MemoryStore, dequantise, quantise
from t2s_rt.pipeline.tiles import TilePixels, pad_tile
from t2s_rt.pipeline.workplace import Workplace, prepare_output
from t2s_rt.scene import TileGrid
from t2s_rt.scene import resample as exact_resample


def test_quantising_is_exact_on_its_own_levels() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    assert (quantise(dequantise(levels)) == levels).all()
    assert quantise(np.array([-1.0, 2.0, 0.5], np.float32)).tolist() == [0, 255, 128]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 5))
def test_disk_store_gives_back_what_it_got(seed: int, classes: int) -> None:
    import tempfile

    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 256, (classes, 9, 7), dtype=np.uint8)
    scores[rng.random(classes) < 0.5] = 0
    with tempfile.TemporaryDirectory() as folder:
        DiskStore(Path(folder)).put(3, scores)
        found = DiskStore(Path(folder)).get(3)  # a fresh one: nothing remembered
    assert found is not None
    np.testing.assert_array_equal(found, scores)


def test_disk_store_calls_damage_missing(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    store.put(0, np.full((2, 8, 8), 7, np.uint8))
    path = next(tmp_path.glob("*.npz"))
    data = path.read_bytes()
    for broken in (data[:40], b"", data[:60] + b"\0\0\0" + data[63:]):
        path.write_bytes(broken)
        assert DiskStore(tmp_path).get(0) is None
    store.drop(0)
    assert store.get(0) is None and not list(tmp_path.iterdir())
    assert store.get(5) is None


def test_disk_store_on_a_full_disk_says_so(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "gone")
    with pytest.raises(OutputError, match="cannot be written"):
        store.put(0, np.zeros((1, 4, 4), np.uint8))


def test_journal_is_taken_over_by_the_same_run_only(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    key = run_key({"scene": "a"})
    with Journal(path, key) as journal:
        assert journal.fresh
        journal.tile(TileRecord(0, "done", seconds={"read": 0.5}))
        journal.tile(TileRecord(1, "failed", "no such pixels"))
        journal.band(0)
    with Journal(path, key) as again:
        assert not again.fresh
        assert again.tiles[0].seconds == {"read": 0.5}
        assert again.tiles[1].reason == "no such pixels" and again.bands == {0}
    assert Journal.key_of(path) == key
    with Journal(path, run_key({"scene": "b"})) as other:
        assert other.fresh and not other.tiles
    assert Journal.key_of(path) != key


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_torn_journal_keeps_what_was_whole(tail: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.jsonl"
        with Journal(path, "k") as journal:
            journal.tile(TileRecord(0, "done"))
        whole = path.read_bytes()
        path.write_bytes(whole + tail)
        with Journal(path, "k") as again:
            assert again.tiles[0].status == "done"
            again.tile(TileRecord(7, "skipped"))
        with Journal(path, "k") as third:
            assert third.tiles[7].status == "skipped"


@pytest.mark.parametrize(
    "text", ["", "null\n", "[1]\n", "{}\n", '{"schema": 9, "key": "k"}\n', "{"]
)
def test_foreign_journal_is_no_journal(tmp_path: Path, text: str) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text(text)
    assert Journal.key_of(path) is None


def _finish(place: Workplace, *suffixes: str) -> None:
    for suffix in suffixes:
        (place.results / (place.stem + suffix)).write_text(place.key)
    place.publish()


def test_outputs_appear_together_and_need_leave_to_be_replaced(tmp_path: Path) -> None:
    place = Workplace(tmp_path, "a", "key", overwrite=False)
    (place.results / "a.labels.tif").write_text("half")
    place.close()
    assert [p.name for p in tmp_path.iterdir()] == [".a.t2s-work"]
    _finish(Workplace(tmp_path, "a", "key", overwrite=False), ".labels.tif", ".json")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "a.labels.tif"]
    with pytest.raises(OutputError, match="--overwrite"):
        Workplace(tmp_path, "a", "other", overwrite=False)
    _finish(Workplace(tmp_path, "a", "other", overwrite=True), ".labels.tif", ".json")
    assert (tmp_path / "a.labels.tif").read_text() == "other"


def test_own_leftovers_are_taken_over_and_others_discarded(tmp_path: Path) -> None:
    place = Workplace(tmp_path, "a", "key", overwrite=False)
    Journal(place.journal, "key").close()
    (place.path / "tile-00000000.npz").write_text("x")
    place.close()
    again = Workplace(tmp_path, "a", "key", overwrite=False)
    assert not again.discarded and (again.path / "tile-00000000.npz").exists()
    again.close()
    other = Workplace(tmp_path, "a", "other", overwrite=False)
    assert other.discarded and not (other.path / "tile-00000000.npz").exists()
    other.remove()
    assert not list(tmp_path.iterdir())


def test_two_runs_do_not_share_a_work_folder(tmp_path: Path) -> None:
    place = Workplace(tmp_path, "a", "key", overwrite=False)
    with pytest.raises(OutputError, match="another run"):
        Workplace(tmp_path, "a", "key", overwrite=False)
    place.remove()


def test_polygons_of_an_earlier_run_go_but_foreign_files_stay(tmp_path: Path) -> None:
    (tmp_path / "a.geojson").write_text("mine")
    _finish(Workplace(tmp_path, "a", "key", overwrite=True), ".gpkg", ".json")
    assert (tmp_path / "a.geojson").read_text() == "mine"
    (tmp_path / "a.json").write_text(json.dumps({"outputs": {"polygons": "a.gpkg", "x": "../b"}}))
    _finish(Workplace(tmp_path, "a", "key", overwrite=True), ".json")
    assert not (tmp_path / "a.gpkg").exists()


def test_output_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for path in (file, file / "inside"):
        with pytest.raises(OutputError, match="-o"):
            prepare_output(path)
    prepare_output(tmp_path / "new" / "deep")
    assert not list((tmp_path / "new" / "deep").iterdir())


layouts = st.builds(
    lambda h, w, scale, tile, overlap, block: Layout(
        (h, w),
        TileGrid(max(1, round(h * scale)), max(1, round(w * scale)), tile, min(overlap, tile - 1)),
        block,
    ),
    st.integers(1, 150),
    st.integers(1, 150),
    st.sampled_from([0.21, 0.5, 1.0, 1.7, 3.0]),
    st.sampled_from([24, 32, 64]),
    st.integers(0, 20),
    st.sampled_from([32, 50, 128]),
)


@settings(max_examples=60, deadline=None)
@given(layouts)
def test_blocks_partition_the_scene_and_find_their_tiles(layout: Layout) -> None:
    seen = np.zeros(layout.scene, np.int32)
    for band in range(layout.bands):
        for region in layout.blocks(band):
            seen[region[0] : region[1], region[2] : region[3]] += 1
            part = layout.working(region)
            covered = np.zeros((layout.grid.height, layout.grid.width), bool)
            for tile in layout.touching(part):
                covered[tile.row : tile.row + tile.height, tile.col : tile.col + tile.width] = True
                assert layout.needed(tile, [band])
            assert covered[part[0] : part[1], part[2] : part[3]].all()
    assert (seen == 1).all()


@settings(max_examples=40, deadline=None)
@given(layouts, st.integers(0, 2**31))
def test_constant_scores_blend_to_a_constant(layout: Layout, seed: int) -> None:
    store = MemoryStore()
    levels = np.random.default_rng(seed).integers(0, 256, 3).astype(np.uint8)
    side = layout.grid.tile
    for tile in layout.tiles:
        height = min(side, layout.grid.height - tile.row)
        width = min(side, layout.grid.width - tile.col)
        store.put(tile.index, np.tile(levels[:, None, None], (1, height, width)))
    region = (0, layout.grid.height, 0, layout.grid.width)
    scores, seen = blend(
        region, layout.grid, layout.tiles, store, (False, True, False), lambda _: False
    )
    assert seen.all()
    want = np.broadcast_to(dequantise(levels)[:, None, None], scores.shape)
    np.testing.assert_allclose(scores, want, atol=1e-5)


def test_seam_runs_linearly_and_a_lost_tile_leaves_a_hole() -> None:
    grid = TileGrid(16, 28, 16, 4)
    tiles = [grid[0], grid[1]]
    store = MemoryStore()
    store.put(0, np.full((1, 16, 16), 255, np.uint8))
    store.put(1, np.zeros((1, 16, 16), np.uint8))
    scores, seen = blend((0, 16, 0, 28), grid, tiles, store, (False,), lambda _: False)
    assert seen.all()
    np.testing.assert_allclose(scores[0, 5, :12], 1.0, atol=1e-6)
    np.testing.assert_allclose(scores[0, 5, 12:16], [0.875, 0.625, 0.375, 0.125], atol=1e-5)
    np.testing.assert_allclose(scores[0, 5, 16:], 0.0, atol=1e-6)
    store.drop(1)
    scores, seen = blend((0, 16, 0, 28), grid, tiles, store, (False,), lambda _: False)
    assert seen[:, :16].all() and not seen[:, 16:].any()
    np.testing.assert_allclose(scores[0, :, :16], 1.0, atol=1e-6)
    _, seen = blend((0, 16, 0, 28), grid, tiles, store, (False,), lambda index: index == 1)
    assert seen.all()


def test_object_that_one_tile_painted_keeps_its_score_in_the_overlap() -> None:
    grid = TileGrid(16, 28, 16, 4)
    store = MemoryStore()
    store.put(0, np.full((1, 16, 16), 200, np.uint8))
    store.put(1, np.zeros((1, 16, 16), np.uint8))
    tiles = [grid[0], grid[1]]
    scores, _ = blend((0, 16, 0, 28), grid, tiles, store, (True,), lambda _: False)
    np.testing.assert_allclose(scores[0, :, :16], 200 / 255, atol=1e-6)
    assert not scores[0, :, 16:].any()


@settings(max_examples=60, deadline=None)
@given(layouts)
def test_own_parts_cover_the_grid_and_reach_a_little_beyond_its_partition(layout: Layout) -> None:
    shape = (layout.grid.height, layout.grid.width)
    cores, owners = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    for tile in layout.tiles:
        row0, row1, col0, col1 = layout.owned(tile)
        assert 0 <= row0 < row1 <= tile.height and 0 <= col0 < col1 <= tile.width
        owners[tile.row + row0 : tile.row + row1, tile.col + col0 : tile.col + col1] += 1
        core = layout.grid.owned(tile)
        top, left = int(core.row) - tile.row, int(core.col) - tile.col
        assert 0 <= top - row0 <= 4 and 0 <= row1 - (top + int(core.height)) <= 4
        assert 0 <= left - col0 <= 4 and 0 <= col1 - (left + int(core.width)) <= 4
        cores[
            tile.row + top : tile.row + top + int(core.height),
            tile.col + left : tile.col + left + int(core.width),
        ] += 1
    assert (cores == 1).all() and (owners >= 1).all()
    if 2 * layout.grid.overlap <= layout.grid.tile:
        # at most one regular border and the one before the last tile are within reach of a pixel
        assert owners.max() <= 9


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**31),
    st.sampled_from([(10, 60), (20, 30), (24, 24), (17, 51), (40, 20), (36, 12)]),
    st.integers(0, 8),
)
def test_resampling_agrees_with_the_exact_one(
    seed: int, sizes: tuple[int, int], start: int
) -> None:
    work, native = sizes
    planes = np.random.default_rng(seed).random((2, work, work)).astype(np.float32)
    scale = work / native
    window = (start, native - 1, 0, native)
    found = resample(planes, (0, 0), (scale, scale), window)
    rows = window[1] - window[0]
    for plane, got in zip(planes, found, strict=True):
        want = exact_resample(plane, start * scale, 0, rows * scale, work, rows, native)
        # cv2 rounds positions to 1/32 pixel; averages of samples are not quite area means
        np.testing.assert_allclose(got, want, atol=0.04 if scale <= 1 else 0.2)


def test_resampled_block_equals_the_same_part_of_the_whole() -> None:
    planes = np.random.default_rng(0).random((2, 40, 40)).astype(np.float32)
    whole = resample(planes, (0, 0), (0.25, 0.25), (0, 160, 0, 160))
    part = resample(planes[:, 9:32, 4:40], (9, 4), (0.25, 0.25), (48, 112, 24, 160))
    np.testing.assert_allclose(part, whole[:, 48:112, 24:160], atol=1e-6)


def test_padded_tile_is_mirrored_and_not_valid() -> None:
    image = np.arange(4 * 3 * 3, dtype=np.uint8).reshape(4, 3, 3)
    padded = pad_tile(TilePixels(image, np.ones((4, 3), bool)), 8)
    assert padded.image.shape == (8, 8, 3)
    np.testing.assert_array_equal(padded.image[4:, :3], image[::-1])
    assert padded.valid[:4, :3].all() and padded.valid.sum() == 12


@pytest.mark.parametrize(
    "changes",
    [{"route": "nearest"}, {"gsd": 0.0}, {"gsd": float("nan")}, {"tile": 8}, {"overlap": -1}],
)
def test_settings_that_no_run_could_use(changes: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="expected"):
        PipelineSettings(**changes)  # type: ignore[arg-type]


def test_overlap_must_leave_a_step() -> None:
    assert PipelineSettings().tile_for(512) == (512, 64)
    with pytest.raises(UsageError, match="overlap"):
        PipelineSettings(overlap=512).tile_for(512)


def test_small_models_share_the_cores_by_tiles() -> None:
    assert PipelineSettings(threads=4).parallel(10 << 20) == (2, 2)
    assert PipelineSettings(threads=1).parallel(10 << 20) == (1, 1)
    assert PipelineSettings(threads=4).parallel(1 << 30) == (1, 4)
    assert PipelineSettings(threads=8, workers=4).parallel(1 << 30) == (4, 2)
    assert PipelineSettings(workers=3, threads=1).parallel(0) == (3, 1)
    assert PipelineSettings().parallel(0)[0] >= 1
    with pytest.raises(UsageError, match="at least 1 tile"):
        PipelineSettings(workers=0)


def test_clashing_stems_and_own_outputs_among_scenes(tmp_path: Path) -> None:
    for name in ("a.tif", "a.png", "b.labels.tif", "b.json", "c.labels.tif", "c.tif.ovr"):
        (tmp_path / name).write_text("")
    found = find_scenes([tmp_path, tmp_path / "a.tif", tmp_path / "." / "a.png"])
    # b.labels.tif has our report beside it, c.labels.tif is somebody's scene
    assert [source.path.name for source in found] == ["a.png", "a.tif", "c.labels.tif"]
    assert len({source.stem for source in found}) == 3
    with pytest.raises(SceneError, match="only maps"):
        (tmp_path / "x").mkdir()
        (tmp_path / "x" / "b.labels.tif").write_text("")
        (tmp_path / "x" / "b.json").write_text("")
        find_scenes([tmp_path / "x"])
