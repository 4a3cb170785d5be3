"""Models written as ONNX: the same scores, or no file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from core.errors import ModelCorrupt
from deepsweep import cli
from detector import artifact
from detector.preprocess import FromCrops
from detector.spec import Card, View
from training import onnx_export


@pytest.fixture(scope="module")
def onnx_program(two_folders: list[Path]) -> Any:
    """The first version as torch exports it: once, since that takes seconds."""
    for library in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(library, reason="the `export` extra is not installed")
    module, described = artifact.load(two_folders[0])
    network = FromCrops(module, described.input).eval()
    return onnx_export.traced(network, np.zeros((2, 64, 64, 3), np.uint8))


def test_an_onnx_file_gives_the_scores_of_torch(
    two_folders: list[Path], tmp_path: Path, onnx_program: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx

    monkeypatch.setattr(onnx_export, "traced", lambda *_: onnx_program)
    out = tmp_path / "small.onnx"
    result = CliRunner().invoke(cli, ["models", "export", str(two_folders[0]), str(out), "--onnx"])
    assert result.exit_code == 0, result.output
    assert "apart in score" in result.stdout
    metadata = {each.key: each.value for each in onnx.load(out).metadata_props}
    written = artifact.read_card(two_folders[0])
    assert json.loads(metadata["deepsweep_card"]) == json.loads(written.model_dump_json())
    # A card from before there were views says nothing of them: one plain crop.
    assert "views" not in json.loads((two_folders[0] / artifact.CARD_FILE).read_text())["input"]
    read = Card.model_validate_json(metadata["deepsweep_card"])
    assert read.input.shown == (View(margin=0.2),)


def test_an_onnx_file_with_other_scores_is_not_kept(
    two_folders: list[Path], tmp_path: Path, onnx_program: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first version's network under the second one's card.
    monkeypatch.setattr(onnx_export, "traced", lambda *_: onnx_program)
    with pytest.raises(ModelCorrupt, match="nothing was written"):
        onnx_export.export(two_folders[1], tmp_path / "small.onnx")
    assert not (tmp_path / "small.onnx").exists()
