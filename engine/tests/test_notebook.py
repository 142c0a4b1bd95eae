"""The notebook runs from its first cell to its last."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parent.parent / "examples"
NETLYRA = EXAMPLES.parent.parent / "netlyra"


def test_the_notebook_plots_scores() -> None:
    if not NETLYRA.exists():
        if os.environ.get("CI") == "true":
            pytest.fail("./netlyra is missing: ./task build makes it")
        pytest.skip("./netlyra is missing: ./task build makes it")
    read = cast(Any, nbformat).read
    notebook = read(EXAMPLES / "scores.ipynb", as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(EXAMPLES)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert "bits" in outputs[-1]["text"]
    assert not any(cell.outputs for cell in read(EXAMPLES / "scores.ipynb", as_version=4).cells if "outputs" in cell)
