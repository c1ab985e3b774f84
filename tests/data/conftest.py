# SPDX-License-Identifier: Apache-2.0
import pytest


@pytest.fixture
def pets(tmp_path):
    folder = tmp_path / "pets"
    folder.mkdir()
    return folder
