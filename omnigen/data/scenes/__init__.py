# SPDX-License-Identifier: Apache-2.0
"""The procedural domain: scenes, their pictures and their captions."""
