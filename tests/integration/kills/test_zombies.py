"""A process that was frozen while another took its partitions over can't store anything when it thaws."""

from pathlib import Path

import pytest

from tests.integration.kills.stage import Stage
from tests.integration.kills.zombie import freeze_and_thaw


@pytest.mark.timeout(180)
def test_a_frozen_and_thawed_process_cannot_commit(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    assert stage.publish(0, 1) == 0
    freeze_and_thaw(stage)
