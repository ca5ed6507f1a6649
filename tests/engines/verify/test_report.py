"""What stays of a verification: verdicts beside engines, a report, pictures."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.engines.verify.doubles import Answer, Arrays, Bench, verdict_of

from t2s_engines.verify.judging import Target
from t2s_engines.verify.pictures import write_pictures
from t2s_engines.verify.report import environment_of, markdown, record_of, sign_engines, write_text
from t2s_engines.verify.verification import Outcome
from t2s_rt.backends import FakeSession
from t2s_rt.contracts import Role
from t2s_rt.errors import BackendError, OutputError
from t2s_rt.plans import (
    DeviceIdentity,
    EngineCache,
    EngineFiles,
    EngineKey,
    Sidecar,
)

ORIN = DeviceIdentity("Orin", (8, 7), 16, 32 << 30, True)
ENVIRONMENT = environment_of("tensorrt", "auto")


def stored(bench: Bench, root: Path, role: Role, release: str = "10.3.0.30") -> EngineFiles:
    """An engine in a cache, whose plan nobody will load."""
    key = EngineKey.of(bench.bundle.graph(role, "fp16"), release, ORIN)
    folder = EngineCache(root).folder(key)
    folder.mkdir(parents=True)
    digest = hashlib.sha256(b"plan").hexdigest()
    sidecar = Sidecar(key.as_record(), key.digest, digest, 4, "2026-11-25", 1.0, "test")
    (folder / "engine.plan").write_bytes(b"plan")
    (folder / "engine.json").write_text(sidecar.to_json())
    return EngineFiles.read(folder)


def right(answer: Answer, feeds: Arrays) -> Arrays:
    return answer(feeds)


def reversed_rows(answer: Answer, feeds: Arrays) -> Arrays:
    return {name: array[:, ::-1].copy() for name, array in answer(feeds).items()}


def shuffled_boxes(answer: Answer, feeds: Arrays) -> Arrays:
    """Boxes that do not belong to their logits."""
    found = dict(answer(feeds))
    return {**found, "boxes": found["boxes"][:, ::-1].copy()}


@pytest.fixture(scope="module")
def failed(bench: Bench) -> Outcome:
    """A decoder whose four masks come in the wrong order."""
    return bench.verify(bench.fake("mask_decoder_local", reversed_rows))


def test_a_passed_engine_is_signed_off(bench: Bench, tmp_path: Path) -> None:
    engine = stored(bench, tmp_path, "clip_patches")
    target = dataclasses.replace(bench.fake("clip_patches", right), engine=engine)
    assert engine.sign_off() is None
    (path,) = sign_engines(bench.verify(target), ENVIRONMENT)
    verdict = engine.sign_off()
    assert path == engine.folder / "verified.json" and verdict is not None
    assert verdict.verdict == "passed" and verdict.faults == ()
    assert verdict.plan_sha256 == engine.sidecar.plan_sha256
    assert [scene["synthetic"] for scene in verdict.scenes] == [True] * 3
    assert verdict.floors["cosine patch_embeddings"] == 0.999
    assert verdict.figures["chain label agreement worst"] == 1.0
    assert verdict.ceilings["non-finite values"] == 0.0
    assert not list(engine.folder.glob(".*"))


def test_a_failed_engine_is_written_down_as_failed(bench: Bench, tmp_path: Path) -> None:
    engine = stored(bench, tmp_path, "clip_image")
    good = dataclasses.replace(bench.fake("clip_image", right), engine=engine)
    bad = dataclasses.replace(
        bench.fake(
            "clip_image", lambda answer, feeds: {"embeddings": -answer(feeds)["embeddings"]}
        ),
        engine=engine,
    )
    sign_engines(bench.verify(good), ENVIRONMENT)
    sign_engines(bench.verify(bad), ENVIRONMENT)  # it takes the place of the passed one
    verdict = engine.sign_off()
    assert verdict is not None and verdict.verdict == "failed"
    assert "clip_image fp16: cosine embeddings: expected at least 0.999" in verdict.faults[0]


def test_what_others_reported_of_this_release_is_named(bench: Bench, tmp_path: Path) -> None:
    """Nano's detector holds GridSample, which 10.13.3 and later get wrong."""
    engine = stored(bench, tmp_path, "detector", release="10.13.3.9")
    for spoil in (right, shuffled_boxes):
        target = dataclasses.replace(bench.fake("detector", spoil), engine=engine)
        verdict = verdict_of(bench.verify(target), "detector")
        said = any("NVIDIA/TensorRT#4813" in note for note in verdict.notes)
        assert said == (not verdict.passed) == (spoil is not right)


def test_a_verdict_edited_by_hand_is_refused(bench: Bench, tmp_path: Path) -> None:
    engine = stored(bench, tmp_path, "clip_image")
    spoilt = bench.fake("clip_image", lambda a, feeds: {"embeddings": -a(feeds)["embeddings"]})
    sign_engines(bench.verify(dataclasses.replace(spoilt, engine=engine)), ENVIRONMENT)
    path = engine.folder / "verified.json"
    record = json.loads(path.read_text())
    record |= {"verdict": "passed", "faults": []}
    path.write_text(json.dumps(record))
    with pytest.raises(BackendError, match="changed after t2s-rt verify wrote it"):
        engine.sign_off()


def test_a_session_that_names_its_engine_is_believed(bench: Bench, tmp_path: Path) -> None:
    """Of two engines in the cache the session decides which one it loads."""
    one, two = (stored(bench, tmp_path / name, "clip_image") for name in "ab")
    plain = bench.fake("clip_image", right)

    def opened() -> object:
        session = plain.open()
        session.files = two  # type: ignore[attr-defined]
        return session

    target = Target(plain.entry, opened, one)  # type: ignore[arg-type]
    (path,) = sign_engines(bench.verify(target), ENVIRONMENT)
    assert path.parent == two.folder and one.sign_off() is None


@pytest.mark.parametrize("batch", [4, 2, 1])
def test_no_call_is_larger_than_the_engine_was_built_for(bench: Bench, batch: int) -> None:
    plain = bench.fake("mask_encoder", right)
    sizes = []

    class Built(FakeSession):
        """A session with the profile of its engine."""

        @property
        def greatest(self) -> dict[str, tuple[int, ...]]:
            return {"image": (batch, 576, 576, 3)}

    def watched(feeds: Arrays) -> Arrays:
        sizes.append(len(feeds["image"]))
        return bench.answer("mask_encoder", feeds)

    target = Target(plain.entry, lambda: Built(plain.entry, watched))
    verdict = verdict_of(bench.verify(target), "mask_encoder")
    assert verdict.passed
    assert max(sizes) == min(batch, len(bench.tiles))
    assert bool(verdict.notes) == (batch == 1)


def test_the_report_says_what_was_shown_found_and_expected(failed: Outcome) -> None:
    record = json.loads(json.dumps(record_of(failed, ENVIRONMENT), allow_nan=False))
    assert record["verdict"] == "failed" and record["synthetic"]
    assert [tile["empty"] for tile in record["tiles"]] == [False, False, True]
    (decoder, chain) = record["graphs"]
    assert decoder["role"] == "mask_decoder_local" and decoder["faults"]
    assert decoder["figures"]["mask IoU worst"] < decoder["floors"]["mask IoU worst"]
    assert decoder["worst"]["mask IoU worst"].startswith("synthetic scene")
    assert chain["role"] == "chain"
    text = markdown(failed, ENVIRONMENT, [Path("worst-0.png")])
    assert "Shown (synthetic scenes only)" in text and "**failed**" in text
    assert decoder["faults"][0] in text and "![worst-0](worst-0.png)" in text


def test_a_picture_shows_both_answers(failed: Outcome, tmp_path: Path) -> None:
    paths = write_pictures(failed, tmp_path)
    verdict = verdict_of(failed, "mask_decoder_local")
    assert tmp_path / f"worst-{verdict.worst['mask IoU worst']}.png" in paths
    sheet = cv2.imread(str(paths[0]))
    assert sheet is not None
    left, middle, right_panel = np.array_split(sheet[92 : 92 + 520], 3, axis=1)
    # the wrong masks lie elsewhere: no two panels are the same picture
    assert (left != middle).any() and (middle != right_panel).any()


def test_where_all_is_equal_there_is_nothing_to_draw(bench: Bench, tmp_path: Path) -> None:
    assert write_pictures(bench.verify(bench.fake("detector", right)), tmp_path) == []


def test_files_appear_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        write_text(tmp_path / "nowhere" / "report.json", "{}")
    (tmp_path / "taken").mkdir()
    with pytest.raises(OutputError):
        write_text(tmp_path / "taken", "{}")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
