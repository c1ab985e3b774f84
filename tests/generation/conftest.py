# SPDX-License-Identifier: Apache-2.0
from toys import lay, omni, params  # noqa: F401  fixtures
