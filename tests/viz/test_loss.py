"""The loss curves: what they draw and say is what the run wrote down."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from picture_checks import CHECKS

from llama_edu import viz
from llama_edu.errors import InputError

CURVES = Path(__file__).resolve().parents[2] / "training" / "curves"
RUN = "step,tokens,loss,held_out\n1,1000000,8.0,\n2,2000000,1.5,1.6\n3,4500000,0.75,\n"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = tmp_path / "run.csv"
    path.write_text(RUN, "utf-8")
    return path


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_picture_is_fit_for_the_page(check: Callable[[viz.Picture], None]) -> None:
    runs = {"guided": CURVES / "story.csv", "alone": CURVES / "story_unguided.csv"}
    check(viz.loss_curves(runs))
    check(viz.loss_curves({"chat": CURVES / "chat.csv"}))


def test_the_curve_is_the_file(run: Path) -> None:
    picture = viz.loss_curves({"mine": run})
    (line,) = picture.figure.axes[1].lines
    assert np.asarray(line.get_xdata()).tolist() == [1.0, 2.0, 4.5]
    assert np.asarray(line.get_ydata()).tolist() == [8.0, 1.5, 0.75]
    assert (
        "“mine”: from 8.0, below 4 after 2.0 million, below 2 after 2.0 million, "
        "below 1 after 4.5 million, 0.75 at the end." in picture.alt
    )


def test_what_cannot_be_drawn_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected 1 to 3 runs, got 0"):
        viz.loss_curves({})
    with pytest.raises(InputError, match="expected 1 to 3 runs, got 4"):
        viz.loss_curves(dict.fromkeys("abcd", run))
    short = tmp_path / "short.csv"
    short.write_text(RUN[: RUN.index("2,")], "utf-8")
    with pytest.raises(InputError, match=r"at least two rows in short\.csv, got 1"):
        viz.loss_curves({"short": short})
