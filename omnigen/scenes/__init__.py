# SPDX-License-Identifier: Apache-2.0
"""The procedural world: scenes, their pictures, captions and sketches."""
