# SPDX-License-Identifier: Apache-2.0
"""Pictures that say which machine made them: signing, reading, and a log for those stripped."""
